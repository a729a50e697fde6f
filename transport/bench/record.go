package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// record is what a holder says of one file: the payload of real life.
type record struct {
	Name    string
	Size    uint64
	ModTime int64
	Digest  [32]byte
}

// records travel by transport in a form of their own, with two allocations
// however many they are.
type records []record

func (rs *records) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(*rs)))
	for i := range *rs {
		r := &(*rs)[i]
		b = binary.AppendUvarint(b, uint64(len(r.Name)))
		b = append(b, r.Name...)
		b = binary.AppendUvarint(b, r.Size)
		b = binary.AppendVarint(b, r.ModTime)
		b = append(b, r.Digest[:]...)
	}
	return b, nil
}

var errMalformed = errors.New("malformed records")

func (rs *records) UnmarshalBinary(b []byte) error {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b))/35 {
		return errMalformed
	}
	text, at := string(b), k
	list := make(records, n)
	for i := range list {
		r := &list[i]
		l, k := binary.Uvarint(b[at:])
		if k <= 0 || l > uint64(len(b)-at-k) {
			return errMalformed
		}
		r.Name = text[at+k : at+k+int(l)]
		at += k + int(l)
		if r.Size, k = binary.Uvarint(b[at:]); k <= 0 {
			return errMalformed
		}
		at += k
		if r.ModTime, k = binary.Varint(b[at:]); k <= 0 || len(b)-at-k < 32 {
			return errMalformed
		}
		at += k + copy(r.Digest[:], b[at+k:])
	}
	*rs = list
	return nil
}

func someRecords(n int) records {
	rs := make(records, n)
	for i := range rs {
		rs[i] = record{Name: fmt.Sprintf("photos/2024/summer/IMG_%05d.jpg", i), Size: uint64(i) * 4099, ModTime: 1_700_000_000_000_000_000 + int64(i)}
		binary.LittleEndian.PutUint64(rs[i].Digest[:], uint64(i)*0x9e3779b97f4a7c15)
	}
	return rs
}
