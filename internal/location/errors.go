package location

import (
	"errors"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

// Errors of Open and Check. All mean that the location must not be used.
var (
	// ErrMissing: the folder, or what location.json should be in it, is not there; an unmounted disk, as a rule.
	ErrMissing = errors.New("location is missing")
	// ErrForeign: the folder belongs to another cluster.
	ErrForeign = errors.New("location belongs to another cluster")
	// ErrIdentity: what is there now is not what was there before; another disk, or a disk mounted over the folder.
	ErrIdentity = errors.New("location is not the one that was known")
	// ErrCorruptIndex: the index can't be read. Its bytes are left as they are.
	ErrCorruptIndex = errors.New("index of location is damaged")
	// ErrNotEmpty: a new location was to be made in a folder that has other things in it.
	ErrNotEmpty = errors.New("folder is not empty")
	// ErrBusy: another process has the location open, or the file's earlier copy is still under way.
	ErrBusy = errors.New("in use")
	// ErrRebuilding: the index is being rebuilt from the files; until that is done, what is held is not known.
	ErrRebuilding = errors.New("index is being rebuilt")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("location is closed")
	// ErrUnsettled: a write to disk or index failed half-way. Closing and opening the location again puts it right.
	ErrUnsettled = errors.New("location must be opened again after a failed write")
)

// Errors about single files.
var (
	// ErrFull: neither capacity nor reserve leave room.
	ErrFull = errors.New("no room")
	// ErrVanished: the copy brought no such file.
	ErrVanished = errors.New("file did not arrive")
	// ErrChanged: what arrived has another size or modification time than was announced.
	ErrChanged = errors.New("file changed while it was copied")
	// ErrDigest: what arrived has other bytes than were announced.
	ErrDigest = errors.New("its bytes differ from the digest that was announced")
	// ErrTaken: something is there already, and was not to give way (BatchOptions.AddOnly).
	ErrTaken = errors.New("something is there already")
	// ErrNotRegular: what arrived, or what is in the way, is not a regular file.
	ErrNotRegular = beneath.ErrNotRegular
	// ErrNameTaken: this file system takes the name for that of another file that is held (upper and lower case, say).
	ErrNameTaken = errors.New("file system takes the name for another's")
	// ErrNotHeld: no such replica is held.
	ErrNotHeld = errors.New("not held")
	// ErrGeneration: another generation of the file is held than the one that was named.
	ErrGeneration = errors.New("another generation is held")
	// ErrReplaced: another replica is there by now than the one that was meant.
	ErrReplaced = errors.New("replaced meanwhile")
	// ErrGrant: the permission to drop has ended.
	ErrGrant = errors.New("permission to drop has ended")
)

// CannotTake tells whether err is of a kind that other files and other tries meet as well: there is no room, the disk refuses to write, or
// something is in the way.
func CannotTake(err error) bool {
	var inTheWay *beneath.InTheWayError
	for _, its := range []error{ErrFull, unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, its) {
			return true
		}
	}
	return errors.As(err, &inTheWay)
}
