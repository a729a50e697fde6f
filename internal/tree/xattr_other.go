//go:build unix && !linux

package tree

import (
	"os"

	"github.com/pkg/xattr"

	"clusterbackup/internal/beneath"
)

// readXattrs opens files and folders; other kinds are taken to have none.
func readXattrs(fd int, e *Entry) (map[string][]byte, error) {
	if !xattr.XATTR_SUPPORTED || e.Kind != KindFile && e.Kind != KindFolder {
		return nil, nil
	}
	own, err := beneath.At(fd).OpenFile(e.Name)
	if err != nil {
		return nil, ignoreNoXattrs(err)
	}
	f := os.NewFile(uintptr(own), e.Name)
	defer f.Close()
	return gatherXattrs(xattrFile{f})
}

type xattrFile struct{ *os.File }

func (f xattrFile) list() ([]string, error)         { return xattr.FList(f.File) }
func (f xattrFile) get(name string) ([]byte, error) { return xattr.FGet(f.File, name) }
