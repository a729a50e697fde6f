package desired

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

const byHand = `# mine
apiVersion: clusterbackup/v1
kind: Source
metadata:
  name: films
spec:
  host: mini
  path: /tank/films
`

func TestEditedFileIsTakenIn(t *testing.T) {
	for _, running := range []bool{true, false} {
		name := map[bool]string{true: "while running", false: "while stopped"}[running]
		t.Run(name, func(t *testing.T) {
			h, peer := newHost(t, "mini"), newHost(t, "rpi1")
			h.apply(source("photos", "/tank/photos"))
			peer.pull(h)
			before := h.source("photos")
			h.now = h.now.Add(time.Minute)
			h.write("source.photos.yaml", strings.Replace(h.read("source.photos.yaml"), "/tank/photos", "/tank/pictures", 1))
			h.write("source.films.yaml", byHand)
			if running {
				h.refresh()
				wantReasons(t, h, "FileTaken", "FileTaken")
			} else {
				h.reopen("mini")
			}
			after := h.source("photos")
			if after.Spec.Path != "/tank/pictures" || after.Generation != 2 || after.UID != before.UID || !after.CreationTimestamp.Equal(&before.CreationTimestamp) {
				t.Errorf("edited source is %+v", after)
			}
			if films := h.source("films"); films.UID == "" || films.Generation != 1 || films.ResourceVersion == "" {
				t.Errorf("new source is %+v", films)
			}
			if merged := peer.pull(h); merged.Taken != 2 {
				t.Errorf("the peer took %+v", merged)
			}
			if peer.source("photos").Spec.Path != "/tank/pictures" {
				t.Error("the edit did not spread")
			}
			wantReasons(t, peer) // an edit knows what it edited: no conflict
			digest := h.Digest()
			h.reopen("mini")
			h.refresh()
			if h.Digest() != digest {
				t.Error("it is taken in again and again")
			}
		})
	}
}

func TestEditThatAsksForNothingNew(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	digest := h.Digest()
	text := h.read("source.photos.yaml")
	h.write("source.photos.yaml", "# a comment\n"+text)
	h.refresh()
	if h.Digest() != digest || !strings.HasPrefix(h.read("source.photos.yaml"), "# a comment") {
		t.Error("a comment alone was taken for a change")
	}
	h.reopen("mini")
	if h.Digest() != digest || !strings.HasPrefix(h.read("source.photos.yaml"), "# a comment") {
		t.Error("a comment alone was taken for a change at start")
	}
	// The store's own fields are its own.
	version := h.source("photos").ResourceVersion
	h.write("source.photos.yaml", strings.Replace(text, version, "mine", 1))
	h.refresh()
	if h.Digest() != digest || h.read("source.photos.yaml") != text {
		t.Errorf("the file is\n%s", h.read("source.photos.yaml"))
	}
	wantReasons(t, h)
}

func TestBrokenEditIsRefusedWhileRunning(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	good := h.read("source.photos.yaml")
	var seen []Change
	defer h.Watch(func(c Change) { seen = append(seen, c) })()
	for how, tc := range map[string]struct{ text, says string }{
		"not YAML":      {"}{", "source.photos.yaml"},
		"unknown field": {strings.Replace(good, "  path:", "  pfad:", 1), "pfad"},
		"relative path": {strings.Replace(good, "/tank/photos", "photos", 1), "spec.path"},
		"other's name":  {strings.Replace(good, "name: photos", "name: films", 1), "its name is for source/photos"},
		"several":       {good + "---\n" + byHand, "want 1"},
		"empty":         {"", "want 1"},
	} {
		t.Run(how, func(t *testing.T) {
			h.t = t
			h.write("source.photos.yaml", tc.text)
			h.refresh()
			h.refresh()
			wantReasons(t, h, "FileRefused")
			if h.source("photos").Spec.Path != "/tank/photos" {
				t.Error("what was in force no longer is")
			}
			if h.read("source.photos.yaml") != tc.text {
				t.Error("the user's file was changed")
			}
			problems := h.Problems()
			if len(problems) != 1 || !strings.Contains(problems[0].Err.Error(), tc.says) || !strings.Contains(problems[0].Err.Error(), "source.photos.yaml") {
				t.Errorf("problems are %+v", problems)
			}
		})
	}
	h.t = t
	if len(seen) != 0 {
		t.Errorf("told of %v", seen)
	}
	h.write("source.photos.yaml", good)
	h.refresh()
	if p := h.Problems(); len(p) != 0 {
		t.Errorf("problems are %+v", p)
	}
}

// A newer version of a resource whose file is broken puts that aside, not away.
func TestBrokenFileIsKeptWhenReplaced(t *testing.T) {
	h, peer := newHost(t, "mini"), newHost(t, "rpi1")
	h.apply(source("photos", "/tank/photos"))
	peer.pull(h)
	h.write("source.photos.yaml", "half an ed")
	peer.now = peer.now.Add(time.Second)
	peer.apply(source("photos", "/tank/pictures"))
	h.pull(peer)
	wantReasons(t, h, "FileRefused", "FileRefused")
	if h.source("photos").Spec.Path != "/tank/pictures" || !strings.Contains(h.read("source.photos.yaml"), "/tank/pictures") {
		t.Error("the newer version is not there")
	}
	if !h.keeps("half an ed") {
		t.Errorf("what the user wrote is lost: %v", h.files())
	}
	h.reopen("mini")
}

// keeps tells whether something was put aside with those words in it.
func (h *host) keeps(words string) bool {
	for name, text := range h.files() {
		if filepath.Dir(name) == supersededDir && strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// An edit that is on disk when a newer version comes from elsewhere takes part as a change of this host.
func TestEditMeetsANewerVersion(t *testing.T) {
	h, peer := newHost(t, "mini"), newHost(t, "rpi1")
	h.apply(source("photos", "/tank/photos"))
	peer.pull(h)
	peer.now = peer.now.Add(time.Second)
	peer.apply(source("photos", "/tank/theirs"))
	h.now = h.now.Add(2 * time.Second)
	h.write("source.photos.yaml", strings.Replace(h.read("source.photos.yaml"), "/tank/photos", "/tank/ours", 1))
	h.pull(peer)
	peer.pull(h)
	for _, one := range []*host{h, peer} {
		if got := one.source("photos").Spec.Path; got != "/tank/ours" {
			t.Errorf("the later change did not stay: %s", got)
		}
	}
	if !peer.keeps("/tank/theirs") {
		t.Error("the version that lost is not kept")
	}
	wantReasons(t, peer, "ConflictLost")
}

func TestVanishedFileDeletesNothing(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	digest, text := h.Digest(), h.read("source.photos.yaml")
	if err := os.Remove(filepath.Join(h.dir, "source.photos.yaml")); err != nil {
		t.Fatal(err)
	}
	h.refresh()
	wantReasons(t, h, "FileRestored")
	if h.Digest() != digest || h.read("source.photos.yaml") != text {
		t.Error("it is not as it was")
	}
	// Nor does a folder that is gone altogether, as when a disk is not mounted.
	if err := os.Rename(h.dir, h.dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := h.Refresh(t.Context()); err == nil {
		t.Error("a missing folder goes unnoticed")
	}
	if _, err := h.Apply(t.Context(), source("films", "/tank/films"), ApplyOptions{}); err == nil {
		t.Error("a change was taken that cannot be stored")
	}
	if h.Digest() != digest {
		t.Error("something is gone")
	}
	if err := os.Rename(h.dir+".away", h.dir); err != nil {
		t.Fatal(err)
	}
	h.reopen("mini")
	if h.Digest() != digest {
		t.Error("something is gone")
	}
}

// A file copied back from deleted/ is the resource again.
func TestUndeleteByHand(t *testing.T) {
	for _, running := range []bool{true, false} {
		h, peer := newHost(t, "mini"), newHost(t, "rpi1")
		h.apply(source("photos", "/tank/photos"))
		if err := h.Delete(t.Context(), v1.KindSource, "photos", DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		peer.pull(h)
		h.write("source.photos.yaml", h.read("deleted/source.photos.yaml"))
		if running {
			h.refresh()
		} else {
			h.reopen("mini")
		}
		if got := h.source("photos"); got.Spec.Path != "/tank/photos" || got.DeletionTimestamp != nil {
			t.Errorf("running %t: %+v", running, got)
		}
		peer.pull(h)
		peer.source("photos")
		if peer.Digest() != h.Digest() {
			t.Errorf("running %t: hosts differ", running)
		}
	}
}

// Hand edits are checked against the other resources as applied ones are.
func TestEditThatDoesNotFit(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	h.write("source.films.yaml", strings.Replace(byHand, "/tank/films", "/tank/photos", 1))
	h.refresh()
	wantReasons(t, h, "FileRefused")
	if all, err := List[v1.Source](t.Context(), h); err != nil || len(all) != 1 {
		t.Errorf("sources: %v, %v", all, err)
	}
}

// With the clock wrong an edit waits; it is taken in once the clock is right, without being touched again.
func TestEditWaitsForTheClock(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	h.now = start.Add(-2 * time.Hour)
	h.write("source.films.yaml", byHand)
	h.refresh()
	h.refresh()
	wantReasons(t, h, "FileRefused")
	wantErr(t, h.Problems()[0].Err, ErrClock)
	h.now = start
	h.refresh()
	if h.source("films").Spec.Path != "/tank/films" || len(h.Problems()) != 0 {
		t.Error("it was not taken in")
	}
}
