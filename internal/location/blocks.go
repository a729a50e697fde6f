package location

import (
	"encoding/binary"
	"hash/crc32"

	v1 "clusterbackup/api/v1"
)

// A large replica can be verified by a sample of its blocks: when the whole of it was read, a checksum of each block was noted with
// its digest. They tell decay, which is all that a sample is for: what it finds is decided by the digest of the whole.
const (
	// minBlock is the size of a block, and a multiple of hashBuffer; files of more than maxBlocks have larger ones.
	minBlock  = 256 << 10
	maxBlocks = 1 << 16
	// One block of sampleStride is read, and no fewer than minSample.
	sampleStride = 16
	minSample    = 4
)

// blocks are the checksums (CRC-32C) of a file's blocks, the last of which may be shorter.
type blocks struct {
	digest v1.Digest // of the whole
	size   int64     // of a block
	sums   []uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockSize is the size of the blocks of a file; 0: it is too small to be sampled.
func blockSize(file int64) int64 {
	if file <= minSample*minBlock {
		return 0
	}
	size := int64(minBlock)
	for file > size*maxBlocks {
		size *= 2
	}
	return size
}

// blockSummer notes the checksums of blocks while a file is read from its beginning, in buffers that no block's end falls into.
type blockSummer struct {
	size int64 // 0: none are noted
	left int64 // of the block that is being read
	sums []uint32
}

func (b *blockSummer) begin(file int64) {
	*b = blockSummer{size: blockSize(file), sums: b.sums[:0]}
}

func (b *blockSummer) add(data []byte) {
	if b.size == 0 || len(data) == 0 {
		return
	}
	if b.left == 0 {
		b.sums, b.left = append(b.sums, 0), b.size
	}
	last := len(b.sums) - 1
	b.sums[last] = crc32.Update(b.sums[last], castagnoli, data)
	b.left -= int64(len(data))
}

// of is what was noted of a file with that digest; nil when nothing was.
func (b *blockSummer) of(digest v1.Digest) *blocks {
	if b.size == 0 {
		return nil
	}
	return &blocks{digest: digest, size: b.size, sums: append([]uint32(nil), b.sums...)}
}

// sample is which blocks are read: every sampleStride-th from start on, or nearer together where that were fewer than minSample.
// Another start each time goes through all of them by and by.
func (b *blocks) sample(start int) (which []int) {
	stride := max(1, min(sampleStride, len(b.sums)/minSample))
	for i := start % stride; i < len(b.sums); i += stride {
		which = append(which, i)
	}
	return which
}

func (b *blocks) append(to []byte) []byte {
	to = append(to, b.digest[:]...)
	to = binary.AppendUvarint(to, uint64(b.size))
	for _, sum := range b.sums {
		to = binary.BigEndian.AppendUint32(to, sum)
	}
	return to
}

func decodeBlocks(value []byte) (*blocks, error) {
	r := reader{b: value}
	b := &blocks{}
	copy(b.digest[:], r.take(len(b.digest)))
	b.size = int64(r.uvarint())
	if r.bad || b.size < minBlock || len(r.b)%4 != 0 {
		return nil, errRecord
	}
	for ; len(r.b) > 0; r.b = r.b[4:] {
		b.sums = append(b.sums, binary.BigEndian.Uint32(r.b))
	}
	return b, nil
}

// blocksOf are those of a replica; nil when none were noted of what it is now.
func (s *sourceTx) blocksOf(rec *Record) *blocks {
	if s == nil {
		return nil
	}
	bucket := s.b.Bucket(bucketBlocks)
	if bucket == nil {
		return nil
	}
	b, err := decodeBlocks(bucket.Get(pathKey(rec.Path)))
	if err != nil || b.digest != rec.Digest || b.size != blockSize(rec.Size) || int64(len(b.sums)) != (rec.Size+b.size-1)/b.size {
		return nil // it is read whole, and they are noted anew
	}
	return b
}

// putBlocks notes the blocks of a replica; nil forgets those of an earlier one.
func (s *sourceTx) putBlocks(path v1.RelPath, b *blocks) error {
	bucket := s.b.Bucket(bucketBlocks)
	switch {
	case b == nil && bucket == nil:
		return nil
	case b == nil:
		return bucket.Delete(pathKey(path))
	case bucket == nil:
		var err error
		if bucket, err = s.b.CreateBucket(bucketBlocks); err != nil {
			return err
		}
	}
	return bucket.Put(pathKey(path), b.append(nil))
}
