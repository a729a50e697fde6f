package tree

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/pkg/xattr"
)

// maxXattrs bounds what is read of one entry's extended attributes, in bytes.
const maxXattrs = 1 << 20

// ErrXattrsTooLarge: an entry has more than 1 MiB of extended attributes.
var ErrXattrsTooLarge = errors.New("extended attributes are larger than 1 MiB")

// Xattrs reads the extended attributes (access lists among them, on Linux) of Entries[i]; nil: it has none, or the file
// system knows none. It may be called only during the visit. An entry that went away has none either.
func (f *Folder) Xattrs(i int) (map[string][]byte, error) {
	e := &f.Entries[i]
	attrs, err := readXattrs(f.fd, e)
	if err != nil {
		return nil, fmt.Errorf("read extended attributes of %q: %w", pathOf(f, e.Name), err)
	}
	return attrs, nil
}

// SelfXattrs is Xattrs for the folder itself.
func (f *Folder) SelfXattrs() (map[string][]byte, error) {
	if f.fd < 0 {
		return nil, nil
	}
	attrs, err := readXattrs(f.fd, &Entry{Name: ".", Kind: KindFolder})
	if err != nil {
		return nil, fmt.Errorf("read extended attributes of %q: %w", f.Path, err)
	}
	return attrs, nil
}

type xattrSource interface {
	list() ([]string, error)
	get(name string) ([]byte, error)
}

func gatherXattrs(s xattrSource) (map[string][]byte, error) {
	names, err := s.list()
	if err != nil || len(names) == 0 {
		return nil, ignoreNoXattrs(err)
	}
	attrs := make(map[string][]byte, len(names))
	total := 0
	for _, name := range names {
		value, err := s.get(name)
		if errors.Is(err, xattr.ENOATTR) {
			continue
		}
		if err != nil {
			return nil, ignoreNoXattrs(err)
		}
		if total += len(name) + len(value); total > maxXattrs {
			return nil, ErrXattrsTooLarge
		}
		attrs[name] = value
	}
	return attrs, nil
}

func ignoreNoXattrs(err error) error {
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EOPNOTSUPP) || absent(err) {
		return nil
	}
	return err
}
