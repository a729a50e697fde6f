package e2e

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	v1 "clusterbackup/api/v1"
)

// TestSeedExample: ten files of equal size, three hosts with room for seven each, two replicas. Twenty-one places for twenty
// copies: a careless order of copies ends in a dead lock.
func TestSeedExample(t *testing.T) {
	const size = 1 << 20
	c := newCluster(t, "origin", "a", "b", "c")
	origin := c.host("origin")
	for i := range 10 {
		name := fmt.Sprintf("file%d", i)
		write(t, filepath.Join(origin.source(), name), content(name, size))
	}
	c.locations("7Mi", "a", "b", "c")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "2")
	origin.waitProtected("photos")

	files := origin.files("photos")
	if len(files) != 10 {
		t.Fatalf("%d files, want 10", len(files))
	}
	for path, f := range files {
		if n := confirmed(f); n != 2 || f.Status.Service != v1.Served {
			t.Errorf("%s: %d confirmed replicas, %s; want 2, Served: %+v", path, n, f.Status.Service, f.Status.Replicas)
		}
	}
	var copied, dropped float64
	for _, h := range c.hosts {
		copied += h.metric("clusterbackup_copied_files_total")
		dropped += h.metric("clusterbackup_dropped_files_total")
	}
	if copied != 20 || dropped != 0 {
		t.Errorf("%v copies made, %v dropped; want 20, 0", copied, dropped)
	}

	for _, dead := range []string{"a", "b", "c"} {
		t.Run("without "+dead, func(t *testing.T) {
			c.host(dead).kill()
			to := filepath.Join(t.TempDir(), "restored")
			origin.ctl("restore", "photos", "--to", to)
			sameTree(t, origin.source(), to)
			c.host(dead).start()
		})
	}
}

func confirmed(f v1.File) int {
	n := 0
	for _, r := range f.Status.Replicas {
		if r.State == v1.ReplicaConfirmed {
			n++
		}
	}
	return n
}

// metric is the sum of a metric's series as a scrape of this host shows them.
func (h *host) metric(name string) float64 {
	h.t.Helper()
	response, err := http.Get("http://" + h.http + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.SplitSeq(string(body), "\n") {
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			h.t.Fatalf("metric line %q: %v", line, err)
		}
		sum += value
	}
	return sum
}
