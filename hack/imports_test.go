package hack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "clusterbackup/"

// allowed draws the arrows between the rooms: which of our packages each room may import, sub-packages included.
// What is not listed is forbidden. A room that is missing here fails the test, so that the picture stays whole.
var allowed = map[string][]string{
	"api/v1":               {},
	"reconcile":            {},
	"transport":            {},
	"internal/placement":   {"api/v1"},
	"internal/manifest":    {"api/v1"},
	"internal/pki":         {"api/v1"},
	"internal/desired":     {"api/v1"},
	"internal/beneath":     {},
	"internal/tree":        {"api/v1", "internal/beneath"},
	"internal/ask":         {},
	"internal/rsync":       {"api/v1", "internal/ask"},
	"internal/stream":      {"api/v1", "internal/beneath"},
	"internal/location":    {"api/v1", "internal/beneath"},
	"internal/catalog":     {"api/v1", "internal/tree", "internal/manifest", "internal/placement"},
	"internal/coordinator": {"api/v1", "internal/catalog", "internal/placement", "internal/tree", "internal/manifest"},
	"internal/restore":     {"api/v1", "internal/beneath", "internal/manifest", "internal/stream"},
	"internal/admin":       {"api/v1", "transport", "internal/restore"},
	"internal/web":         {"api/v1"},
	"controllers":          {"api/v1", "reconcile", "internal/coordinator", "internal/catalog", "internal/location", "internal/rsync", "internal/tree", "internal/desired", "internal/manifest", "internal/placement"},
	"internal/cli":         {"api/v1", "transport", "internal/admin", "internal/restore", "internal/ask", "internal/stream", "internal/pki", "internal/manifest", "internal/version", "config/crd"},
	"internal/daemon":      {"api/v1", "reconcile", "transport", "controllers", "internal"},
	"cmd":                  {"internal/daemon", "internal/cli"},
	"config/crd":           {},
	"internal/version":     {},
	"hack":                 {},
}

// only names the packages that may import an outside module; everybody else goes through them.
var only = map[string][]string{
	"sigs.k8s.io/controller-runtime": {"reconcile"},
	"go.etcd.io/bbolt":               {"internal/catalog", "internal/location", "internal/restore"},
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		room := roomOf(path)
		if p.ImportPath == "clusterbackup" || strings.HasPrefix(path, "test/") || strings.HasPrefix(path, "transport/") {
			continue
		}
		if room == "" {
			t.Errorf("%s is in no room: add it to the arrows in this test, and to docs", path)
			continue
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module); ok && !mayImport(room, ours) {
				t.Errorf("%s imports %s: that arrow isn't in the picture", path, ours)
			}
			for outside, rooms := range only {
				if strings.HasPrefix(imported, outside) && !contains(rooms, room) {
					t.Errorf("%s imports %s: only %s may", path, imported, strings.Join(rooms, ", "))
				}
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var found []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			if len(found) < 5 {
				t.Fatalf("go list named only %d packages", len(found))
			}
			return found
		case err != nil:
			t.Fatal(err)
		}
		found = append(found, p)
	}
}

func roomOf(path string) string {
	for room := range allowed {
		if path == room || strings.HasPrefix(path, room+"/") {
			return room
		}
	}
	return ""
}

func mayImport(room, imported string) bool {
	if roomOf(imported) == room {
		return true
	}
	for _, a := range allowed[room] {
		if imported == a || strings.HasPrefix(imported, a+"/") {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
