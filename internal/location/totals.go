package location

import "encoding/binary"

// totals are what one source, or all, hold in a location.
type totals struct {
	replicas, replicaBytes int64
	versions, versionBytes int64
}

func (t *totals) add(o totals) {
	t.replicas += o.replicas
	t.replicaBytes += o.replicaBytes
	t.versions += o.versions
	t.versionBytes += o.versionBytes
}

func (t *totals) bytes() int64 { return t.replicaBytes + t.versionBytes }

func (t *totals) addReplica(r *Record)  { t.replicas++; t.replicaBytes += r.Size }
func (t *totals) subReplica(r *Record)  { t.replicas--; t.replicaBytes -= r.Size }
func (t *totals) addVersion(v *Version) { t.versions++; t.versionBytes += v.Size }
func (t *totals) subVersion(v *Version) { t.versions--; t.versionBytes -= v.Size }

func (t *totals) append(b []byte) []byte {
	for _, n := range []int64{t.replicas, t.replicaBytes, t.versions, t.versionBytes} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func (r *reader) totals() (t totals) {
	for _, n := range []*int64{&t.replicas, &t.replicaBytes, &t.versions, &t.versionBytes} {
		*n = r.varint()
	}
	return t
}
