//go:build unix && !linux

package tree

import (
	"os"

	"golang.org/x/sys/unix"
)

// nameSource lists the names of a folder.
type nameSource struct{}

// read appends the folder's names to into and returns it. Where it fails, what came before is returned too.
func (s *nameSource) read(fd int, into []listed) ([]listed, error) {
	own, err := retry(func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return into, err
	}
	f := os.NewFile(uintptr(own), "")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		into = append(into, listed{name: name})
	}
	return into, err
}

func statListed(fd int, name string, e *Entry) error { return statAt(fd, name, e) }
