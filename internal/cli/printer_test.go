package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	v1 "clusterbackup/api/v1"
)

// Whatever a file's name is, a listing of it can be printed, and read again.
func TestFileListOfAnyName(t *testing.T) {
	var names []string
	for b := range 256 {
		names = append(names, string([]byte{byte(b)}), fmt.Sprintf("a\n%s b", []byte{byte(b)}))
	}
	for r := rune(0x80); r < 0xa0; r++ {
		names = append(names, string(r))
	}
	for _, r := range "\u00ad\u2028\u2029\ue000\ufeff\ufffd\ufffe\uffff\U0001f600\U0001fffe\U000e0001\U0010ffff" {
		names = append(names, string(r), "x "+string(r)+"\ty")
	}
	for _, format := range []string{"json", "yaml"} {
		var out bytes.Buffer
		list := &listOfFiles{newListPrinter(&out, format, "FileList")}
		for _, name := range names {
			f := &v1.File{Spec: v1.FileSpec{Source: "s", Path: name}}
			if !utf8.ValidString(name) {
				f.Spec.Path, f.Spec.PathBase64 = strconv.Quote(name), []byte(name)
			}
			f.Name = "s/" + f.Spec.Path
			if err := list.file(f); err != nil {
				t.Fatalf("%s of %q: %v", format, name, err)
			}
		}
		if err := list.end(""); err != nil {
			t.Fatal(err)
		}
		var read struct{ Items []v1.File }
		parse := json.Unmarshal
		if format == "yaml" {
			parse = func(data []byte, v any) error { return yaml.Unmarshal(data, v) }
		}
		if err := parse(out.Bytes(), &read); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if len(read.Items) != len(names) {
			t.Fatalf("%s: %d files were printed, %d can be read", format, len(names), len(read.Items))
		}
		for i, f := range read.Items {
			got := f.Spec.Path
			if f.Spec.PathBase64 != nil {
				got = string(f.Spec.PathBase64)
			}
			if got != names[i] {
				t.Errorf("%s: %q is read as %q", format, names[i], got)
			}
		}
	}
}
