package coordinator

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"

	v1 "clusterbackup/api/v1"
)

// FolderDigest is what an Inventory says of a folder's records: the first 16 bytes of the SHA-256 over them, sorted by their
// names' bytes; of each the name's length (4 bytes), the name (the path's last component), and the generation's epoch and
// sequence (8 bytes each), all big-endian. The order of records does not matter.
func FolderDigest(records []Record) (d [16]byte) {
	sorted := records
	byName := func(a, b Record) int { return cmp.Compare(a.Path.Base(), b.Path.Base()) }
	if !slices.IsSortedFunc(sorted, byName) {
		sorted = slices.Clone(records)
		slices.SortFunc(sorted, byName)
	}
	f := newFolderHash()
	for i := range sorted {
		f.add(sorted[i].Path.Base(), sorted[i].Gen)
	}
	return f.sum()
}

// folderHash makes a FolderDigest from names in order.
type folderHash struct {
	h   hash.Hash
	buf []byte
}

func newFolderHash() *folderHash { return &folderHash{h: sha256.New()} }

func (f *folderHash) add(name string, gen v1.Generation) {
	f.buf = binary.BigEndian.AppendUint32(f.buf[:0], uint32(len(name)))
	f.buf = append(f.buf, name...)
	f.buf = binary.BigEndian.AppendUint64(f.buf, gen.Epoch)
	f.buf = binary.BigEndian.AppendUint64(f.buf, gen.Seq)
	f.h.Write(f.buf)
}

func (f *folderHash) sum() (d [16]byte) {
	copy(d[:], f.h.Sum(nil))
	return d
}
