package v1

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const photos = `# a comment
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos, labels: {tier: gold, year: 2024}}
spec:
  host: mini
  path: /tank/photos
  minReplicas: 3
  exclude: ["*.tmp", "/cache/"]
  scanInterval: 15m
  retention: {deleted: 720h, maxVersions: 0}
  verify: {sampleAbove: 64Mi}
`

func TestDecodeReadsYAMLAndJSONAlike(t *testing.T) {
	docs, err := Decode([]byte("---\n---\n"+photos+"---\n"+strings.ReplaceAll(photos, "photos", "music")), "home.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || docs[0].Object.GetName() != "photos" || docs[1].Object.GetName() != "music" {
		t.Fatalf("got %v", docs)
	}
	src := docs[0].Object.(*Source)
	if src.Spec.MinReplicas != 3 || src.Spec.Host != "mini" || src.Labels["year"] != "2024" || *src.Spec.Retention.MaxVersions != 0 ||
		src.Spec.Verify.SampleAbove.Value() != 64<<20 || src.Spec.ScanInterval.Minutes() != 15 || len(src.Spec.Exclude) != 2 {
		t.Errorf("spec = %+v", src.Spec)
	}
	if docs[1].Line != 17 || docs[1].LineOf("spec.retention.deleted") != 26 || docs[1].LineOf("spec.spread") != 20 {
		t.Errorf("lines: %d, %d, %d", docs[1].Line, docs[1].LineOf("spec.retention.deleted"), docs[1].LineOf("spec.spread"))
	}
	if !docs[0].Mentions("spec.retention.maxVersions") || docs[0].Mentions("spec.maxReplicas") {
		t.Error("Mentions tells the wrong thing")
	}
	asJSON, err := yaml.YAMLToJSON([]byte(photos))
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []string{string(asJSON), strings.ReplaceAll(string(asJSON), ",", ",\n\t") + "\n" + string(asJSON)} {
		again, err := Decode([]byte(input), "home.json")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(src.Spec, again[len(again)-1].Object.(*Source).Spec); diff != "" {
			t.Errorf("JSON differs from YAML:\n%s", diff)
		}
	}
}

func TestDecodeReadsWhatGetPrints(t *testing.T) {
	src := New(KindSource).(*Source)
	src.Name, src.UID, src.ResourceVersion = "photos", "1234", "7"
	src.Spec = SourceSpec{Host: "mini", Path: "/tank"}
	src.Status = SourceStatus{Files: 7, Problems: []Problem{{Path: "x"}}}
	item, err := json.Marshal(src)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := Decode([]byte(`{"apiVersion":"v1","kind":"List","items":[`+string(item)+","+string(item)+`]}`), "-")
	if err != nil {
		t.Fatal(err)
	}
	src.Status = SourceStatus{}
	if len(docs) != 2 || cmp.Diff(src, docs[0].Object) != "" {
		t.Errorf("got %d documents; %s", len(docs), cmp.Diff(src, docs[0].Object))
	}
}

func TestDecodeNamesFileLineFieldAndWayOut(t *testing.T) {
	for name, c := range map[string]struct{ input, want string }{
		"unknown field":    {strings.Replace(photos, "minReplicas", "minReplica", 1), `home.yaml:8: spec.minReplica: unknown field (did you mean "minReplicas"?)`},
		"unknown at depth": {strings.Replace(photos, "maxVersions", "most", 1), `home.yaml:11: spec.retention.most: unknown field`},
		"twice":            {strings.Replace(photos, "  host: mini\n", "  host: mini\n  host: nas\n", 1), `home.yaml:7: spec.host: is given twice (first on line 6)`},
		"duration":         {strings.Replace(photos, "15m", "15 min", 1), `home.yaml:10: spec.scanInterval: "15 min" is not a duration (90s, 15m, 720h)`},
		"quantity":         {strings.Replace(photos, "64Mi", "64MiB", 1), `home.yaml:12: spec.verify.sampleAbove: "64MiB" is not an amount of bytes (700Gi, 50G, 1048576)`},
		"number":           {strings.Replace(photos, "3", "two", 1), `home.yaml:8: spec.minReplicas: "two" is not a whole number`},
		"too large":        {strings.Replace(photos, "3", "4294967297", 1), `home.yaml:8: spec.minReplicas: "4294967297" is not a whole number`},
		"list":             {strings.Replace(photos, `["*.tmp", "/cache/"]`, `"*.tmp"`, 1), `home.yaml:9: spec.exclude: should be a list: ["…"], not "*.tmp"`},
		"map":              {strings.Replace(photos, "{sampleAbove: 64Mi}", "7d", 1), `home.yaml:12: spec.verify: should have fields of its own, not "7d"`},
		"relative":         {strings.Replace(photos, "/tank/photos", "tank/photos", 1), `home.yaml:7: spec.path: "tank/photos": is relative: write the whole path, beginning with /`},
		"zero replicas":    {strings.Replace(photos, "3", "0", 1), `home.yaml:8: spec.minReplicas: 0 replicas would protect nothing: it must be at least 1; leave it out for the default`},
		"name":             {strings.Replace(photos, "name: photos", "name: My Photos", 1), `home.yaml:4: metadata.name: "My Photos": use lower-case letters, digits and "-" inside, at most 63 characters ("photos-2024")`},
		"kind":             {strings.Replace(photos, "Source", "Sauce", 1), `home.yaml:3: kind: "Sauce" is not known (did you mean "Source"?)`},
		"version":          {strings.Replace(photos, "clusterbackup/v1", "clusterbackup/v9", 1), `home.yaml:2: apiVersion: "clusterbackup/v9" is not known: write clusterbackup/v1`},
		"no version":       {strings.Replace(photos, "apiVersion: clusterbackup/v1\n", "", 1), `home.yaml:2: apiVersion: is missing: write apiVersion: clusterbackup/v1`},
		"no resource":      {"- photos\n", `home.yaml:1: is no resource: it should begin with apiVersion and kind`},
		"no YAML":          {"apiVersion: [clusterbackup/v1\nkind: Source\n", `home.yaml:`},
		"no JSON":          {"{\"apiVersion\": \"clusterbackup/v1\",\n\t\"kind\": }\n", `home.yaml:`},
		"a file":           {"apiVersion: clusterbackup/v1\nkind: File\nmetadata: {name: a}\n", "home.yaml:2: kind: is observed state: it can be read, not written"},
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := Decode([]byte(c.input), "home.yaml")
			if err == nil {
				t.Fatalf("accepted: %+v", docs)
			}
			if got := err.Error(); got != c.want && (!strings.HasSuffix(c.want, ":") || !strings.HasPrefix(got, c.want)) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var all FileErrors
			if !errors.As(err, &all) || all[0].Line == 0 {
				t.Errorf("error has no line: %#v", err)
			}
		})
	}
}

func TestDecodeTellsAllMistakesAtOnce(t *testing.T) {
	input := strings.NewReplacer("host: mini", "hots: mini", "15m", "soon").Replace(photos) + "---\n" + strings.Replace(photos, "3", "-1", 1)
	_, err := Decode([]byte(input), "f")
	var all FileErrors
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(photos))
	f.Add([]byte(`{"apiVersion":"clusterbackup/v1","kind":"Location","metadata":{"name":"a"},"spec":{"host":"h","path":"/p","capacity":"1Gi"}}`))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Add([]byte("apiVersion: clusterbackup/v1\nkind: Source\nmetadata: &m {labels: *m}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := Decode(data, "f")
		if err != nil {
			return
		}
		for _, d := range docs { // what is accepted survives being written and read again
			out, err := json.Marshal(d.Object)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Decode(out, "g")
			if err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			if twice, err := json.Marshal(again[0].Object); err != nil || string(twice) != string(out) {
				t.Fatalf("%s\nbecame\n%s, %v", out, twice, err)
			}
		}
	})
}
