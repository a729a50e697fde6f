package location

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// An intent is written to the index before files are touched and removed with the change of the records. What a crash leaves is
// settled by what lies on the disk.
type intent struct {
	kind   intentKind
	source v1.SourceName
	// record is the new replica (publish), or the present one.
	record Record
	// name is where the version is to lie, below the source's folder of versions; "" for none.
	name   string
	since  int64
	aside  time.Time // see Version
	until  time.Time
	reason Reason
	count  int
}

type intentKind uint8

const (
	intentPublish intentKind = iota + 1
	intentRetire
	intentDrop
	intentExpire
)

func (in *intent) append(b []byte) []byte {
	b = append(b, byte(in.kind), byte(in.reason))
	for _, s := range []string{string(in.source), string(in.record.Path), in.name} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendVarint(b, in.since)
	b = binary.AppendVarint(b, in.until.Unix())
	b = in.record.append(b)
	b = binary.AppendUvarint(b, uint64(in.count))
	return binary.AppendVarint(b, in.aside.Unix())
}

func decodeIntent(b []byte) (*intent, error) {
	r := reader{b: b}
	in := &intent{kind: intentKind(r.byte()), reason: Reason(r.byte())}
	in.source = v1.SourceName(r.string())
	path := v1.RelPath(r.string())
	in.name = r.string()
	in.since, in.until = r.varint(), time.Unix(r.varint(), 0)
	in.record = r.record()
	in.record.Path = path
	in.count = r.count()
	in.aside = r.aside(in.since)
	return in, r.done()
}

// version is what the old record becomes.
func (in *intent) version(old Record) *Version {
	return &Version{
		Record: old, Name: beneath.Join(versionsFolder(in.source), in.name),
		Since: time.Unix(in.since, 0), Aside: in.aside, Until: in.until, Reason: in.reason, Count: in.count,
	}
}

func (u *update) putIntents(intents []*intent) error {
	b := u.tx.Bucket(bucketIntents)
	for _, in := range intents {
		id, err := b.NextSequence()
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, id), in.append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// clearIntents removes them all: only one operation at a time has any (Location.mu).
func (u *update) clearIntents() error {
	b := u.tx.Bucket(bucketIntents)
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// settle puts right what a crash left half done: every file ends under its real name or as a version, whole, and with its record.
func (l *Location) settle() error {
	var intents []*intent
	err := l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketIntents).ForEach(func(_, v []byte) error {
			in, err := decodeIntent(v)
			intents = append(intents, in)
			return err
		})
	})
	if err != nil || len(intents) == 0 {
		return err
	}
	sync, err := l.newSyncer()
	if err != nil {
		return err
	}
	defer sync.close()
	sync.plan(len(intents), l.wholeSync)
	outcomes := make([]outcome, len(intents))
	for i, in := range intents {
		if outcomes[i], err = l.settleOne(in, sync); err != nil {
			return fmt.Errorf("settle %s/%s: %w", in.source, in.record.Path, err)
		}
	}
	if err := sync.sync(); err != nil {
		return fmt.Errorf("sync location: %w", err)
	}
	return l.commit(func(u *update) error {
		for i, in := range intents {
			if err := u.applyOutcome(in, outcomes[i]); err != nil {
				return err
			}
		}
		return u.clearIntents()
	}, nil)
}

// outcome is what the disk shows of an intent.
type outcome struct {
	published bool // the new file stands under the real name
	gone      bool // nothing stands there
	aside     bool // the old one lies in versions
}

func (u *update) applyOutcome(in *intent, out outcome) error {
	s, err := u.source(in.source)
	if err != nil {
		return err
	}
	old, had, err := s.get(in.record.Path)
	if err != nil {
		return err
	}
	if in.kind == intentRetire && !had {
		old, had = in.record, true
	}
	if out.aside && had {
		if err := s.putVersion(in.version(old)); err != nil {
			return err
		}
	}
	switch {
	case out.published:
		return s.put(&in.record)
	case out.gone:
		return s.remove(in.record.Path)
	}
	return nil
}

func (l *Location) settleOne(in *intent, sync *syncer) (outcome, error) {
	if in.kind == intentExpire {
		return outcome{}, l.settleExpire(in, sync)
	}
	dir, base := beneath.Split(beneath.Join(string(in.source), string(in.record.Path)))
	at, err := l.top.Open(dir)
	if isAbsent(err) {
		return l.settleAbsent(in, sync)
	}
	if err != nil {
		return outcome{}, err
	}
	defer at.Close()
	st, err := at.Stat(base)
	if isAbsent(err) {
		return l.settleAbsent(in, sync)
	}
	if err != nil {
		return outcome{}, err
	}
	if in.kind != intentPublish {
		return outcome{}, nil // it still stands: nothing has happened
	}
	return l.settlePublish(in, at, base, &st, sync)
}

// settlePublish finds out which file stands under the real name, the new or the old.
func (l *Location) settlePublish(in *intent, at beneath.Folder, base string, st *unix.Stat_t, sync *syncer) (outcome, error) {
	vdir, vbase := beneath.Split(in.name)
	var aside bool
	var vst unix.Stat_t
	versions, err := l.top.Open(beneath.Join(versionsFolder(in.source), vdir))
	if err != nil && !isAbsent(err) {
		return outcome{}, err
	}
	if err == nil {
		defer versions.Close()
		if in.name != "" {
			vst, err = versions.Stat(vbase)
			aside = err == nil
		}
	}
	if aside && vst.Ino == st.Ino && vst.Dev == st.Dev {
		sync.touched(beneath.Join(versionsFolder(in.source), vdir))
		return outcome{}, versions.Remove(vbase) // linked aside, not yet replaced
	}
	digest, err := l.digestIn(at, base, st)
	if err != nil {
		return outcome{}, err
	}
	return outcome{published: digest == in.record.Digest && st.Size == in.record.Size, aside: aside}, nil
}

// settleAbsent: nothing stands under the real name. What lies in versions is what stood there.
func (l *Location) settleAbsent(in *intent, sync *syncer) (outcome, error) {
	if in.name == "" {
		return outcome{gone: true}, nil
	}
	vdir, vbase := beneath.Split(beneath.Join(versionsFolder(in.source), in.name))
	versions, err := l.top.Open(vdir)
	if isAbsent(err) {
		return outcome{gone: true}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	defer versions.Close()
	there, err := versions.Exists(vbase)
	if err != nil {
		return outcome{}, err
	}
	if in.kind == intentRetire {
		return outcome{gone: true, aside: there}, nil
	}
	if !there {
		return outcome{gone: true}, nil
	}
	// Moved aside, and the new one did not come: the old one takes its place again.
	dir, base := beneath.Split(beneath.Join(string(in.source), string(in.record.Path)))
	at, err := l.top.Ensure(dir, 0o755, sync.touched)
	if err != nil {
		return outcome{}, err
	}
	defer at.Close()
	sync.touched(dir)
	sync.touched(vdir)
	return outcome{}, versions.Rename(vbase, at, base)
}

func (l *Location) settleExpire(in *intent, sync *syncer) error {
	dir, base := beneath.Split(beneath.Join(versionsFolder(in.source), in.name))
	at, err := l.top.Open(dir)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	sync.touched(dir)
	if err := at.Remove(base); err != nil && !isAbsent(err) {
		return err
	}
	return nil
}
