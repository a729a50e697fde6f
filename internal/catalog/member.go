package catalog

import "encoding/binary"

// Member is a file of a class.
type Member struct {
	Key  Key
	Size int64
}

// SmallFile is the size in bytes below which a file's exact size is of no matter to where it goes: a class lists its larger files
// by size, and behind them the small ones by folder. Who copies them in that order finds a batch in a few folders, not in all.
const SmallFile = 64 << 10

// memberKey orders a class's files: class, ^rank, Key. The value is a small file's size.
func memberKey(class uint32, size int64, key Key) []byte {
	b := make([]byte, 0, 12+len(key))
	b = binary.BigEndian.AppendUint32(b, class)
	b = binary.BigEndian.AppendUint64(b, ^uint64(rank(size)))
	return append(b, key...)
}

// rank is the size of a large file, and the same for all small ones.
func rank(size int64) int64 {
	if size < SmallFile {
		return 0
	}
	return size
}

func memberValue(size int64) []byte {
	if size < SmallFile {
		return binary.AppendUvarint(nil, uint64(size))
	}
	return nil
}

func memberOf(k, v []byte) Member {
	if len(v) > 0 {
		size, _ := binary.Uvarint(v)
		return Member{Key: Key(k[12:]), Size: int64(size)}
	}
	return Member{Key: Key(k[12:]), Size: int64(^binary.BigEndian.Uint64(k[4:]))}
}

// maxPassed is how many small files in a row may be too large before Members ends.
const maxPassed = 1 << 14

// Members visits a class's files of at most most bytes: those of SmallFile bytes or more first, the largest first, then the small
// ones, folder by folder; after, if not empty, is the Member after which to go on instead. visit returns false to end.
func (tx *Tx) Members(class uint32, most int64, after Member, visit func(Member) bool) {
	from := memberKey(class, most, "")
	if after.Key != "" {
		from = append(memberKey(class, after.Size, after.Key), 0)
	}
	cur := tx.members.Cursor()
	passed := 0
	for k, v := cur.Seek(from); isMember(k, class) && passed < maxPassed; k, v = cur.Next() {
		m := memberOf(k, v)
		if passed++; m.Size > most {
			continue
		}
		if passed = 0; !visit(m) {
			return
		}
	}
}

func isMember(k []byte, class uint32) bool { return len(k) > 20 && binary.BigEndian.Uint32(k) == class }

// SmallestAbove finds the smallest file of a class that is larger than size; where that is a small one, some of these.
func (tx *Tx) SmallestAbove(class uint32, size int64) (m Member, ok bool) {
	if size < SmallFile {
		passed := 0
		tx.Members(class, SmallFile-1, Member{}, func(s Member) bool {
			m, ok = s, s.Size > size
			passed++
			return !ok && passed < maxPassed
		})
		if ok {
			return m, true
		}
	}
	cur := tx.members.Cursor()
	before := cur.Prev
	if k, _ := cur.Seek(memberKey(class, size, "")); k == nil {
		before = cur.Last
	}
	k, v := before()
	if !isMember(k, class) {
		return Member{}, false
	}
	return memberOf(k, v), true
}
