package v1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const samples = "../../config/samples"

// TestSamples: every sample decodes, validates, and defaults without contradiction; there is one for each kind that can be
// written.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(samples, "*.yaml*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"source", "location", "host", "cluster"} {
		if _, err := os.Stat(filepath.Join(samples, kind+".yaml")); err != nil {
			t.Error(err)
		}
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			docs := decodeSample(t, file)
			for _, d := range docs {
				Default(d.Object, nil)
				if errs := Validate(d.Object); len(errs) > 0 {
					t.Errorf("%s with its defaults: %v", RefOf(d.Object), errs.ToAggregate())
				}
				again := d.Object.DeepCopyObject().(Object)
				Default(again, &ClusterSpec{MinReplicas: 7})
				if diff := cmp.Diff(d.Object, again); diff != "" {
					t.Errorf("%s: defaults changed when applied again:\n%s", RefOf(d.Object), diff)
				}
			}
		})
	}
}

func decodeSample(t *testing.T, file string) []Document {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("@DEMO@", "/tmp/demo", "@SOURCE@", "/usr/src").Replace(string(data))
	docs, err := Decode([]byte(text), file)
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) == 0 {
		t.Fatal("no resource in there")
	}
	return docs
}

// TestHomeNetwork: the whole network stands together without a warning, and uses every kind.
func TestHomeNetwork(t *testing.T) {
	var all []Object
	kinds := map[string]int{}
	for _, d := range decodeSample(t, filepath.Join(samples, "home-network.yaml")) {
		all = append(all, d.Object)
		kinds[KindOf(d.Object)]++
	}
	if errs, warnings := ValidateSet(all); len(errs)+len(warnings) > 0 {
		t.Errorf("errors %v, warnings %v", errs, warnings)
	}
	for _, kind := range []string{KindCluster, KindHost, KindLocation, KindSource} {
		if kinds[kind] == 0 {
			t.Errorf("no %s in it", kind)
		}
	}
}
