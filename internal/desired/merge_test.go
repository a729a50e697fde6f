package desired

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"

	"pgregory.net/rapid"
)

func canonical(t *testing.T, fields map[string]any) []byte {
	t.Helper()
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestConflict(t *testing.T) {
	a, b := newHost(t, "mini"), newHost(t, "rpi1")
	a.apply(source("photos", "/tank/photos"))
	b.pull(a)
	a.now, b.now = start.Add(2*time.Minute), start.Add(time.Minute)
	a.apply(source("photos", "/tank/a"))
	b.apply(source("photos", "/tank/b"))
	// a's is the later: b loses, and says so; a has nothing to learn.
	if a.pull(b).Taken != 0 || b.pull(a).Taken != 1 || a.Digest() != b.Digest() {
		t.Error("the hosts do not agree")
	}
	if got := b.source("photos").Spec.Path; got != "/tank/a" {
		t.Errorf("what stayed is %s", got)
	}
	wantReasons(t, a)
	if len(b.events) != 1 || b.events[0].Kind != v1.KindSource || b.events[0].Name != "photos" {
		t.Fatalf("events are %+v", b.events)
	}
	for _, say := range []string{"rpi1", "mini", supersededDir} {
		if !strings.Contains(b.events[0].Message, say) {
			t.Errorf("%q does not say %q", b.events[0].Message, say)
		}
	}
	if !b.keeps("/tank/b") {
		t.Error("the version that lost is not kept")
	}
	// Who goes on from there has no conflict, even if versions in between were never seen.
	b.events = nil
	b.now = b.now.Add(time.Hour)
	b.apply(source("photos", "/tank/c"))
	b.apply(source("photos", "/tank/d"))
	a.now = b.now
	a.pull(b)
	wantReasons(t, a)
	wantReasons(t, b)
}

func TestDeletionAgainstChange(t *testing.T) {
	for _, deletionIsLater := range []bool{true, false} {
		a, b := newHost(t, "mini"), newHost(t, "rpi1")
		a.apply(source("photos", "/tank/photos"))
		b.pull(a)
		a.now, b.now = start.Add(time.Minute), start.Add(2*time.Minute)
		if deletionIsLater {
			a.now, b.now = b.now, a.now
		}
		if err := a.Delete(t.Context(), v1.KindSource, "photos", DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.apply(source("photos", "/tank/changed"))
		a.pull(b)
		b.pull(a)
		for _, h := range []*host{a, b} {
			if _, err := h.Get(t.Context(), v1.KindSource, "photos"); (err != nil) != deletionIsLater {
				t.Errorf("deletion later: %t; got %v", deletionIsLater, err)
			}
		}
		if loser := map[bool]*host{true: b, false: a}[deletionIsLater]; !slices.Equal(loser.reasons(), []string{"ConflictLost"}) {
			t.Error("the loser does not say so")
		}
	}
}

// Two hosts that ask for the same at once do not quarrel.
func TestSameChangeTwice(t *testing.T) {
	a, b := newHost(t, "mini"), newHost(t, "rpi1")
	a.apply(source("photos", "/tank/photos"))
	b.apply(source("photos", "/tank/photos"))
	a.pull(b)
	b.pull(a)
	if a.Digest() != b.Digest() {
		t.Error("the hosts differ")
	}
	wantReasons(t, a)
	wantReasons(t, b)
}

// The clock of one host is behind: its change is still after what it has seen.
func TestChangeIsAfterWhatWasSeen(t *testing.T) {
	a, b := newHost(t, "mini"), newHost(t, "rpi1")
	a.now, b.now = start.Add(30*time.Minute), start
	a.apply(source("photos", "/tank/photos"))
	b.pull(a)
	b.apply(source("photos", "/tank/b"))
	a.pull(b)
	if got := a.source("photos").Spec.Path; got != "/tank/b" {
		t.Errorf("what stayed is %s", got)
	}
	wantReasons(t, a)
	// Through a restart too.
	b.reopen("rpi1")
	b.apply(source("photos", "/tank/again"))
	a.pull(b)
	if got := a.source("photos").Spec.Path; got != "/tank/again" {
		t.Errorf("what stayed is %s", got)
	}
}

func TestClockFarAheadIsNotBelieved(t *testing.T) {
	a, b := newHost(t, "mini"), newHost(t, "rpi1")
	a.apply(source("photos", "/tank/photos"))
	a.now = start.Add(MaxAhead + time.Second)
	a.apply(source("films", "/tank/films"))
	merged := b.pull(a)
	if merged.Taken != 1 || len(merged.Refused) != 1 {
		t.Fatalf("merged %+v", merged)
	}
	wantErr(t, merged.Refused[0], ErrClock)
	wantReasons(t, b, "ClockAhead")
	b.now = start.Add(time.Minute)
	if merged := b.pull(a); merged.Taken != 1 || a.Digest() != b.Digest() {
		t.Errorf("later: %+v", merged)
	}
	// A host whose clock fell back far behind what it made says so rather than make versions that nobody believes.
	a.now = start.Add(-time.Hour)
	a.reopen("mini")
	_, err := a.Apply(t.Context(), source("music", "/tank/music"), ApplyOptions{})
	wantErr(t, err, ErrClock)
	wantErr(t, a.Delete(t.Context(), v1.KindSource, "films", DeleteOptions{}), ErrClock)
	if a.Digest() != b.Digest() {
		t.Error("a refused change changed something")
	}
}

// What a peer sends is checked: nothing but whole resources under names that are file names.
func TestNonsenseFromPeers(t *testing.T) {
	a, h := newHost(t, "mini"), newHost(t, "rpi1")
	a.apply(source("photos", "/tank/photos"))
	good := a.Diff(nil)[0].Resource
	fields, err := parseFields(good)
	if err != nil {
		t.Fatal(err)
	}
	for how, data := range map[string][]byte{
		"nothing":      nil,
		"cut":          good[:len(good)-3],
		"not its hash": bytes.Replace(good, []byte("/tank/photos"), []byte("/tank/pictur"), 1),
		"spaces":       append(slices.Clone(good), ' '),
		"twice":        append(slices.Clone(good), good...),
		"status":       bytes.Replace(good, []byte(`"spec":`), []byte(`"status":{},"spec":`), 1),
		"path":         stamped(t, fields, "../../etc/passwd").Resource,
		"no name":      stamped(t, fields, "").Resource,
		"huge":         stamped(t, fields, strings.Repeat("x", maxResource)).Resource,
	} {
		merged, err := h.Merge(t.Context(), []Item{{Resource: data}})
		if err != nil || merged.Taken != 0 || len(merged.Refused) != 1 {
			t.Errorf("%s: %+v, %v", how, merged, err)
		}
	}
	fields["kind"] = "../Source"
	if merged, err := h.Merge(t.Context(), []Item{stamped(t, fields, "photos")}); err != nil || merged.Taken != 0 {
		t.Errorf("kind: %+v, %v", merged, err)
	}
	if got := h.files(); len(got) != 0 {
		t.Errorf("files are %v", got)
	}
}

func TestExportImport(t *testing.T) {
	a, b := newHost(t, "mini"), newHost(t, "rpi1")
	a.apply(source("photos", "/tank/photos"))
	a.apply(source("films", "/tank/films"))
	if err := a.Delete(t.Context(), v1.KindSource, "films", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	data, err := a.Export()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Import(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	if a.Digest() != b.Digest() {
		t.Error("the hosts differ")
	}
	wantErr(t, b.Import(t.Context(), []byte("nonsense")), ErrInvalid)
	if err := b.Import(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// fleet is several hosts that drift apart and pull from one another as rapid says.
type fleet struct {
	t     *rapid.T
	hosts []*host
	now   time.Time
	skew  []time.Duration
	edits int
}

// Whatever the hosts do and in whichever order they pull, with clocks that differ and daemons that restart: once everyone has pulled
// from everyone they have the same set, in memory and on disk.
func TestHostsConverge(t *testing.T) {
	root := t.TempDir()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		f := &fleet{t: rt, now: start}
		for i := range rapid.IntRange(2, 4).Draw(rt, "hosts") {
			h := &host{t: t, dir: filepath.Join(root, fmt.Sprint(round), fmt.Sprint(i)), now: start}
			h.reopen(hostName(i))
			f.hosts = append(f.hosts, h)
			f.skew = append(f.skew, time.Duration(rapid.IntRange(-1200, 1200).Draw(rt, "skew"))*time.Second)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"apply":   f.apply,
			"delete":  f.delete,
			"edit":    f.edit,
			"pull":    func(rt *rapid.T) { h, _ := f.pick(rt); o, _ := f.pick(rt); h.pull(o) },
			"restart": func(rt *rapid.T) { h, i := f.pick(rt); h.reopen(hostName(i)) },
			"":        func(rt *rapid.T) {},
		})
		f.settle()
		f.check()
		os.RemoveAll(filepath.Join(root, fmt.Sprint(round)))
	})
}

func hostName(i int) v1.HostName { return v1.HostName(fmt.Sprintf("host%d", i)) }

// pick draws a host; time passes, or does not.
func (f *fleet) pick(rt *rapid.T) (*host, int) {
	i := rapid.IntRange(0, len(f.hosts)-1).Draw(rt, "host")
	f.now = f.now.Add(time.Duration(rapid.IntRange(0, 2).Draw(rt, "seconds")) * time.Second)
	f.hosts[i].now = f.now.Add(f.skew[i])
	return f.hosts[i], i
}

func drawName(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"photos", "films"}).Draw(rt, "name")
}

func (f *fleet) apply(rt *rapid.T) {
	h, _ := f.pick(rt)
	name := drawName(rt)
	f.edits++
	h.apply(source(name, fmt.Sprintf("/%s/%d", name, f.edits)))
}

func (f *fleet) delete(rt *rapid.T) {
	h, _ := f.pick(rt)
	err := h.Delete(h.t.Context(), v1.KindSource, drawName(rt), DeleteOptions{})
	if err != nil && !strings.Contains(err.Error(), ErrNotFound.Error()) {
		rt.Fatal(err)
	}
}

// edit changes a file by hand; whoever looks next takes it in.
func (f *fleet) edit(rt *rapid.T) {
	h, _ := f.pick(rt)
	name := drawName(rt)
	path := filepath.Join(h.dir, "source."+name+".yaml")
	f.edits++
	text := fmt.Sprintf("apiVersion: clusterbackup/v1\nkind: Source\nmetadata: {name: %s}\nspec: {host: mini, path: /%s/%d}\n", name, name, f.edits)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		rt.Fatal(err)
	}
}

// settle lets everyone pull from everyone, by way of the first.
func (f *fleet) settle() {
	for i, h := range f.hosts {
		h.now = f.now.Add(f.skew[i])
		h.refresh()
	}
	for range 2 {
		for _, h := range f.hosts[1:] {
			f.hosts[0].pull(h)
			h.pull(f.hosts[0])
		}
	}
}

func (f *fleet) check() {
	first := f.hosts[0]
	for i, h := range f.hosts {
		if h.Digest() != first.Digest() {
			f.t.Fatalf("%s differs: %v and %v", hostName(i), h.Have(), first.Have())
		}
		for _, e := range h.events {
			if e.Reason != "ConflictLost" && e.Reason != "FileTaken" {
				f.t.Fatalf("%s said %+v", hostName(i), e)
			}
		}
		digest := h.Digest()
		h.reopen(hostName(i))
		if h.Digest() != digest || len(h.Problems()) != 0 {
			f.t.Fatalf("%s is another after a restart", hostName(i))
		}
	}
	// Nothing is left to tell.
	if items := first.Diff(f.hosts[1].Have()); len(items) != 0 {
		f.t.Fatalf("there is more to tell: %v", items)
	}
}

func FuzzParseResource(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"clusterbackup/v1","kind":"Source","metadata":{"name":"photos","resourceVersion":"20261122T150405.123456Z/0/mini/9f86d081884c7d65/mini=1"},"spec":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseResource(data)
		if err == nil && (r.key().fileName() != filepath.Base(r.key().fileName()) || r.version.Host == "") {
			t.Fatalf("took %q", data)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	f.Add("20261122T150405.123456Z/0/mini/9f86d081884c7d65/mini=2,rpi1=1")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseVersion(s); err == nil && v.String() != s {
			t.Fatalf("%q was read as %q", s, v)
		}
	})
}
