package restore

import "os"

// SyncWith replaces how a whole file system is made durable.
func (o *Options) SyncWith(sync func(*os.File) (whole bool, err error)) { o.syncFilesystem = sync }
