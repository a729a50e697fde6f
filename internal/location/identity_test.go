package location

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
)

func TestOpenRefusesWhatIsNotTheLocation(t *testing.T) {
	write := func(name, content string) func(*testing.T, *home) {
		return func(t *testing.T, h *home) {
			fatalIf(t, os.WriteFile(filepath.Join(h.cfg.Root, name), []byte(content), 0o600))
		}
	}
	cases := []struct {
		name   string
		before func(*testing.T, *home) // on a location that was open once, and is closed
		want   error
	}{
		{"folder gone", func(t *testing.T, h *home) { fatalIf(t, os.RemoveAll(h.cfg.Root)) }, ErrMissing},
		{"empty folder, as of a disk not mounted", func(t *testing.T, h *home) {
			fatalIf(t, os.RemoveAll(h.cfg.Root))
			fatalIf(t, os.Mkdir(h.cfg.Root, 0o700))
		}, ErrMissing},
		{"a file instead", func(t *testing.T, h *home) {
			fatalIf(t, os.RemoveAll(h.cfg.Root))
			fatalIf(t, os.WriteFile(h.cfg.Root, nil, 0o600))
		}, ErrMissing},
		{"other cluster", write(identityFile, `{"format":1,"clusterUID":"other","uid":"abc"}`), ErrForeign},
		{"other location", write(identityFile, `{"format":1,"clusterUID":"`+cluster+`","uid":"abc"}`), ErrIdentity},
		{"damaged identity", write(identityFile, `{"format":1,"clu`), ErrIdentity},
		{"forged identity", write(identityFile, `{"format":1,"clusterUID":"`+cluster+`","uid":"../x"}`), ErrIdentity},
		{"damaged memory", func(t *testing.T, h *home) {
			fatalIf(t, os.WriteFile(knownPath(h.cfg.IndexDir, "usb"), []byte("{"), 0o600))
		}, ErrCorruptIndex},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHome(t)
			l := h.open()
			put(t, l, file{"a", "1", 1})
			fatalIf(t, l.Close())
			c.before(t, h)
			before := treeOf(t, h.cfg.Root)
			_, err := Open(h.cfg)
			wantErr(t, err, c.want)
			if after := treeOf(t, h.cfg.Root); after != before {
				t.Errorf("it was written to:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

// treeOf lists what is below a folder.
func treeOf(t *testing.T, root string) (list string) {
	t.Helper()
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err == nil {
			list += p + " " + info.Mode().String() + " " + info.ModTime().String() + "\n"
		}
		return nil
	})
	fatalIf(t, err)
	return list
}

func TestNewLocationTakesNoOneElsesFolder(t *testing.T) {
	h := newHome(t)
	fatalIf(t, os.Mkdir(h.cfg.Root, 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(h.cfg.Root, "letters"), nil, 0o600))
	_, err := Open(h.cfg)
	wantErr(t, err, ErrNotEmpty)
	fatalIf(t, os.Remove(filepath.Join(h.cfg.Root, "letters")))
	fatalIf(t, os.Mkdir(filepath.Join(h.cfg.Root, "lost+found"), 0o755))
	h.open()
	other := newHome(t)
	other.cfg.Init = false
	_, err = Open(other.cfg)
	wantErr(t, err, ErrMissing)
}

func TestLocationIsOpenOnce(t *testing.T) {
	h := newHome(t)
	h.open()
	_, err := Open(h.cfg)
	wantErr(t, err, ErrBusy)
}

func TestEveryWriteChecksIdentityFirst(t *testing.T) {
	for name, swap := range map[string]func(*testing.T, string){
		"unmounted": func(t *testing.T, root string) { fatalIf(t, os.Rename(root, root+".away")) },
		"mounted over": func(t *testing.T, root string) {
			fatalIf(t, os.Rename(root, root+".away"))
			fatalIf(t, os.Mkdir(root, 0o700))
		},
		"identity gone": func(t *testing.T, root string) { fatalIf(t, os.Remove(filepath.Join(root, identityFile))) },
		"identity of another": func(t *testing.T, root string) {
			fatalIf(t, os.WriteFile(filepath.Join(root, identityFile), []byte("{}"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			l := h.open()
			put(t, l, file{"a", "1", 1})
			b, err := l.Begin(t.Context(), photos, BatchOptions{})
			fatalIf(t, err)
			defer b.Close()
			in := stage(t, b, file{"b", "2", 2})
			swap(t, h.cfg.Root)
			refused := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrIdentity) {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err = b.Publish(t.Context(), in)
			refused("publish", err)
			_, err = l.Begin(t.Context(), photos, BatchOptions{})
			refused("begin", err)
			refused("drop", l.Drop(t.Context(), photos, "a", v1.Generation{Epoch: 7, Seq: 1}, func() bool { return true }))
			_, err = l.Retire(t.Context(), photos, []v1.RelPath{"a"}, time.Hour, nil)
			refused("retire", err)
			_, err = l.Verify(t.Context(), photos, []v1.RelPath{"a"}, VerifyOptions{})
			refused("verify", err)
			_, err = l.Rebuild(t.Context(), nil)
			refused("rebuild", err)
			refused("sums", l.FlushSums(t.Context(), 0))
			if _, held, _ := l.Get(photos, "a"); !held {
				t.Error("the replica was forgotten")
			}
		})
	}
}

func TestDamagedIndexIsRefusedAndKept(t *testing.T) {
	h := newHome(t)
	l := h.open()
	var files []file
	for i := range 400 {
		files = append(files, file{v1.RelPath("folder/with/a/long/name/" + string(rune('a'+i%26)) + time.Duration(i).String()), "x", uint64(i + 1)})
	}
	put(t, l, files...)
	path := filepath.Join(h.cfg.IndexDir, l.UID()+".db")
	fatalIf(t, l.Close())
	whole, err := os.ReadFile(path)
	fatalIf(t, err)
	scribbled := append([]byte(nil), whole...)
	for i := 2 * 4096; i < len(scribbled); i++ {
		scribbled[i] = byte(i * 31)
	}
	for name, content := range map[string][]byte{
		"cut short": whole[:len(whole)/4], "text": []byte("not an index at all"), "scribbled": scribbled, "zeros": make([]byte, len(whole)),
	} {
		t.Run(name, func(t *testing.T) {
			fatalIf(t, os.WriteFile(path, content, 0o600))
			_, err := Open(h.cfg)
			wantErr(t, err, ErrCorruptIndex)
			if after, _ := os.ReadFile(path); string(after) != string(content) {
				t.Error("the damaged index was written to")
			}
		})
	}
	fatalIf(t, os.WriteFile(path, whole, 0o600))
	audit(t, h.open())
}

func TestIndexIsRebuiltFromTheFiles(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"a", "1", 1}, file{"d/b", "2", 2}, file{"gone", "3", 2}, file{"edited", "4", 2})
	put(t, l, file{"a", "new", 3})
	fatalIf(t, l.Close())
	fatalIf(t, os.RemoveAll(h.cfg.IndexDir))
	l = h.open()
	if !l.Rebuilding() {
		t.Fatal("an empty index is believed")
	}
	_, err := l.Reserve(1, 1)
	wantErr(t, err, ErrRebuilding)
	_, err = l.Begin(t.Context(), photos, BatchOptions{})
	wantErr(t, err, ErrRebuilding)
	for _, err := range l.Folders(photos, "") { // an inventory of half of it would call the rest lost
		wantErr(t, err, ErrRebuilding)
	}
	found, err := l.Rebuild(t.Context(), nil)
	if err != nil || found.Files != 5 || found.Hashed != 5 {
		t.Errorf("found %+v, %v", found, err)
	}
	audit(t, l)
	rec, _, _ := l.Get(photos, "a")
	if !rec.Gen.IsZero() || l.Rebuilding() {
		t.Errorf("record %+v", rec)
	}
	rec.Gen = v1.Generation{Epoch: 9, Seq: 9}
	other := rec
	other.Path = "d/b" // not this digest
	fatalIf(t, l.TakeOver(photos, []Record{rec, other}))
	if rec, _, _ := l.Get(photos, "a"); rec.Gen.Seq != 9 {
		t.Errorf("generation %v", rec.Gen)
	}
	if rec, _, _ := l.Get(photos, "d/b"); !rec.Gen.IsZero() {
		t.Errorf("generation %v was taken over for other bytes", rec.Gen)
	}
	rec.Mode = unix.S_IFREG | 0o4711
	fatalIf(t, l.TakeOver(photos, []Record{rec}))
	if st, err := os.Stat(filepath.Join(l.Root(), "photos/a")); err != nil || st.Mode() != os.ModeSetuid|0o711 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if rec, _, _ := l.Get(photos, "a"); rec.Mode != 0o4711 {
		t.Errorf("mode %o is recorded", rec.Mode)
	}
	if vs := versionsOf(t, l, "a"); len(vs) != 1 || contentOf(t, l, vs[0].Name) != "1" || time.Until(vs[0].Until) < 700*time.Hour {
		t.Errorf("versions %+v", vs)
	}

	// A second run finds what somebody did to the files.
	fatalIf(t, os.Remove(filepath.Join(l.Root(), "photos/gone")))
	fatalIf(t, os.WriteFile(filepath.Join(l.Root(), "photos/edited"), []byte("other"), 0o600))
	fatalIf(t, os.WriteFile(filepath.Join(l.Root(), "photos/stray"), []byte("s"), 0o600))
	found, err = l.Rebuild(t.Context(), nil)
	if err != nil || found.Hashed != 2 || found.Removed != 1 {
		t.Errorf("found %+v, %v", found, err)
	}
	audit(t, h.reopen(l))
}

func TestCopyOfTheDiskIsNotBelieved(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"a", "1", 1}, file{"b", "1", 1})
	fatalIf(t, l.Close())
	fatalIf(t, os.Rename(h.cfg.Root, h.cfg.Root+".disk"))
	fatalIf(t, os.CopyFS(h.cfg.Root, os.DirFS(h.cfg.Root+".disk")))
	fatalIf(t, os.Remove(filepath.Join(h.cfg.Root, "photos", "b"))) // an older copy
	l = h.open()
	if !l.Rebuilding() {
		t.Fatal("the copy is taken for the disk")
	}
	found, err := l.Rebuild(t.Context(), nil)
	if err != nil || found.Removed != 1 {
		t.Errorf("found %+v, %v", found, err)
	}
	audit(t, h.reopen(l))
}

// An index that is older than the disk names files that were dropped since: it must not be believed.
func TestIndexThatWasPutBackIsNotBelieved(t *testing.T) {
	for _, when := range []string{"of a closed location", "of an open location"} {
		t.Run(when, func(t *testing.T) {
			h := newHome(t)
			l := h.open()
			put(t, l, file{"a", "1", 1}, file{"b", "1", 1}, file{"c", "1", 1})
			old := filepath.Join(t.TempDir(), "old")
			index := filepath.Join(h.cfg.IndexDir, l.UID()+".db")
			if when == "of a closed location" {
				fatalIf(t, l.Close())
			}
			fatalIf(t, os.CopyFS(old, os.DirFS(h.cfg.IndexDir)))
			if when == "of a closed location" {
				l = h.open()
			}
			fatalIf(t, l.Drop(t.Context(), photos, "b", gen(1), always))
			put(t, l, file{"c", "22", 2})
			fatalIf(t, l.Close())
			data, err := os.ReadFile(filepath.Join(old, filepath.Base(index)))
			fatalIf(t, err)
			fatalIf(t, os.WriteFile(index, data, 0o600))
			l = h.open()
			if !l.Rebuilding() {
				t.Fatal("the old index is believed")
			}
			_, err = l.Rebuild(t.Context(), nil)
			fatalIf(t, err)
			if got := recordsOf(t, l, ""); !slices.Equal(got, []string{"a", "c"}) {
				t.Errorf("held %q", got)
			}
			audit(t, h.reopen(l))
		})
	}
}

func TestLocationClosedInOrderIsBelievedAtOnce(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"a", "1", 1})
	if l = h.reopen(l); l.Rebuilding() {
		t.Error("it is compared with the files")
	}
	put(t, l, file{"b", "1", 1})
	if l = h.reopen(l); l.Rebuilding() {
		t.Error("it is compared with the files")
	}
}

// Two hosts that share a folder would count one replica twice, and one's drop would delete the other's.
func TestFolderServesOneHost(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"a", "1", 1})
	other := h.cfg
	other.IndexDir, other.Name = t.TempDir(), "other"
	_, err := Open(other)
	wantErr(t, err, ErrBusy)
	fatalIf(t, l.Close())
	moved, err := Open(other) // the disk went to another host
	fatalIf(t, err)
	fatalIf(t, moved.Close())
}

func TestForgottenLocationMayBeAnother(t *testing.T) {
	h := newHome(t)
	fatalIf(t, h.open().Close())
	fatalIf(t, os.RemoveAll(h.cfg.Root))
	_, err := Open(h.cfg)
	wantErr(t, err, ErrMissing)
	fatalIf(t, Forget(h.cfg.IndexDir, "usb"))
	fatalIf(t, Forget(h.cfg.IndexDir, "usb"))
	h.open()
}

func TestIndexIsRebuiltInTheBackground(t *testing.T) {
	h := newHome(t)
	h.cfg.ManualRebuild = false
	l := h.open()
	put(t, l, file{"a", "1", 1}, file{"d/b", "2", 2})
	fatalIf(t, l.Close())
	fatalIf(t, os.RemoveAll(h.cfg.IndexDir))
	l = h.open()
	for deadline := time.Now().Add(30 * time.Second); l.Rebuilding(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not done")
		}
	}
	if got := recordsOf(t, l, ""); len(got) != 2 {
		t.Errorf("held %q", got)
	}
	audit(t, l)
}
