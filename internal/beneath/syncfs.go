package beneath

// SyncFilesystem makes everything durable that was written to the file system of an open file or folder. It is not whole where
// that cannot be done or relied on: then each file has to be seen to.
func SyncFilesystem(fd int) (whole bool, err error) {
	at := At(fd)
	if !at.CanSyncAll() {
		return false, nil
	}
	return true, at.SyncAll()
}
