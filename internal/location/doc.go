// Package location keeps replicas in a folder of this host's disk, and is the only writer there.
//
// A location is plain files: LOCATION/SOURCE/path is the replica of path, LOCATION/.clusterbackup/ holds what this package needs
// beside them (identity, unfinished copies, earlier versions, checksums, manifests). What is held is also kept in an index
// outside the location, so that questions are answered without reading the disk; an index that is lost is rebuilt from the files.
//
// What it promises, at every instant and after a crash at any instant:
//   - A file stands under its real name only whole, with its bytes on the disk and in the index.
//   - The index names no file whose bytes are not there.
//   - What is replaced or retired lies in versions/ until its retention ends by this host's clock; nothing else deletes but Drop.
//   - Replicas, versions and unfinished copies together stay within the capacity, and leave the file system's reserve alone.
//   - Nothing is read or written unless the folder is the very one that was opened and location.json says so; no symbolic link
//     is followed below it.
//
// Typical use:
//
//	loc, err := location.Open(location.Config{Root: "/srv/backup", Name: "rpi1-usb", …})
//	room, err := loc.Reserve(bytes, files)                       // ErrFull: nothing was started
//	batch, err := loc.Begin("photos", location.BatchOptions{Reservation: room})
//	// … rsync into batch.Dir() …
//	published, err := batch.Publish(ctx, incoming)               // hashed, synced, renamed, recorded: the whole batch at once
//	err = batch.Close()
//
// All methods may be called from several goroutines at once.
package location
