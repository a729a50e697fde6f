package tree

import "golang.org/x/sys/unix"

// setType fills Kind, Mode and Skipped from st_mode.
func (e *Entry) setType(mode uint32) {
	e.Mode = mode & 07777
	e.Skipped = ""
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Kind = KindFile
	case unix.S_IFDIR:
		e.Kind = KindFolder
	case unix.S_IFLNK:
		e.Kind = KindSymlink
	case unix.S_IFSOCK:
		e.Kind, e.Skipped = KindOther, "socket"
	case unix.S_IFIFO:
		e.Kind, e.Skipped = KindOther, "fifo"
	default:
		e.Kind, e.Skipped = KindOther, "device"
	}
}

// fromStat fills all but Name, Target and Handle.
func (e *Entry) fromStat(st *unix.Stat_t) {
	e.setType(uint32(st.Mode))
	e.Size = st.Size
	e.ModTime = st.Mtim.Nano()
	e.ChangeTime = st.Ctim.Nano()
	e.Inode = uint64(st.Ino)
	e.Device = uint64(st.Dev)
	e.UID, e.GID = st.Uid, st.Gid
	e.Links = uint32(st.Nlink)
}

func statFD(fd int, e *Entry) error {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	if err == nil {
		e.fromStat(&st)
	}
	return err
}

func statAt(fd int, name string, e *Entry) error {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err == nil {
		e.fromStat(&st)
	}
	return err
}
