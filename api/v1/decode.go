package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is one resource as it was read from a file.
//
// +kubebuilder:object:generate=false
type Document struct {
	Object Object
	// File and Line are where it begins.
	File string
	Line int

	lines map[string]int // by field path, each field that is written there
}

// Mentions tells whether the file has the field ("spec.cordoned"), whatever its value.
func (d *Document) Mentions(fieldPath string) bool { return d.lines[fieldPath] > 0 }

// LineOf is the line on which a field stands, or the nearest one above it that the file has, or the document's first.
func (d *Document) LineOf(fieldPath string) int {
	for fieldPath != "" {
		if line := d.lines[fieldPath]; line > 0 {
			return line
		}
		fieldPath = fieldPath[:max(0, strings.LastIndexAny(fieldPath, ".["))]
	}
	return d.Line
}

// FileError is something wrong in a file.
//
// +kubebuilder:object:generate=false
type FileError struct {
	File    string
	Line    int    // 0: not known
	Field   string // "" where it is about no field
	Message string
}

// Error is FILE:LINE: FIELD: MESSAGE.
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	return b.String() + ": " + e.Message
}

// FileErrors are all that is wrong, in the order of the lines.
//
// +kubebuilder:object:generate=false
type FileErrors []*FileError

// Error is one line for each.
func (e FileErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Decode reads resources from YAML or JSON, several documents or Lists of them included, as strictly as can be: a field that is
// unknown, given twice or of another type is an error. status is ignored, so that what `cbctl get -o yaml` printed can be
// applied. file names the input in errors. The objects are checked with Validate as well. The error is a FileErrors.
func Decode(data []byte, file string) ([]Document, error) {
	d := &decoder{file: file}
	for _, part := range d.split(data) {
		d.readStream(part)
	}
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *FileError) int { return a.Line - b.Line })
		return nil, d.errs
	}
	return d.docs, nil
}

// +kubebuilder:object:generate=false
type decoder struct {
	file string
	docs []Document
	errs FileErrors
}

func (d *decoder) fail(line int, field, format string, args ...any) {
	d.errs = append(d.errs, &FileError{d.file, line, field, fmt.Sprintf(format, args...)})
}

// part is a piece of the input and how many lines come before it.
//
// +kubebuilder:object:generate=false
type part struct {
	data   []byte
	before int
}

// split takes JSON values one after the other apart; YAML is one part. JSON is read as the YAML that it is, but for tabs, which
// JSON has only between tokens.
func (d *decoder) split(data []byte) []part {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' {
		return []part{{data, 0}}
	}
	var parts []part
	for dec, from := json.NewDecoder(bytes.NewReader(data)), int64(0); ; {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil { // YAML in braces, or a mistake that the YAML parser will tell the line of
			return append(parts, part{bytes.ReplaceAll(data[from:], []byte("\t"), []byte(" ")), bytes.Count(data[:from], []byte("\n"))})
		}
		to := dec.InputOffset()
		parts = append(parts, part{bytes.ReplaceAll(data[from:to], []byte("\t"), []byte(" ")), bytes.Count(data[:from], []byte("\n"))})
		from = to
	}
}

// readStream reads the documents of one part.
func (d *decoder) readStream(p part) {
	for dec := yaml.NewDecoder(bytes.NewReader(p.data)); ; {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.syntaxError(p.before, err)
			return
		}
		shift(&node, p.before)
		if node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
			d.readDocument(node.Content[0])
		}
	}
}

// syntaxError takes the line out of the parser's message, which has it nowhere else.
func (d *decoder) syntaxError(before int, err error) {
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if n, scanned := fmt.Sscanf(message, "line %d:", &line); n == 1 && scanned == nil {
		_, message, _ = strings.Cut(message, ": ")
		line += before
	}
	d.fail(line, "", "is not YAML: %s", message)
}

func shift(node *yaml.Node, lines int) {
	node.Line += lines
	for _, child := range node.Content {
		shift(child, lines)
	}
}

// readDocument reads a resource, or each item of a list.
func (d *decoder) readDocument(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.fail(node.Line, "", "is no resource: it should begin with apiVersion and kind")
		return
	}
	version, kind := scalar(node, "apiVersion"), scalar(node, "kind")
	if items := child(node, "items"); items != nil && strings.HasSuffix(kind, "List") {
		for _, item := range items.Content {
			d.readDocument(item)
		}
		return
	}
	switch {
	case version == "":
		d.fail(node.Line, "apiVersion", "is missing: write apiVersion: %s", APIVersion)
	case version != APIVersion:
		d.fail(child(node, "apiVersion").Line, "apiVersion", "%q is not known: write %s", version, APIVersion)
	case kind == "":
		d.fail(node.Line, "kind", "is missing: Source, Location, Host or Cluster")
	case New(kind) == nil:
		d.fail(child(node, "kind").Line, "kind", "%q is not known%s", kind, didYouMean(kind, []string{KindSource, KindLocation, KindHost, KindCluster}))
	default:
		d.readObject(node, kind)
	}
}

func (d *decoder) readObject(node *yaml.Node, kind string) {
	errorsBefore := len(d.errs)
	doc := Document{Object: New(kind), File: d.file, Line: node.Line, lines: map[string]int{}}
	fields := fieldReader{decoder: d, lines: doc.lines}
	fields.readInto(doc.Object, node)
	SetKind(doc.Object)
	ClearStatus(doc.Object)
	if len(d.errs) > errorsBefore {
		return
	}
	d.refuseZeroReplicas(&doc)
	for _, err := range Validate(doc.Object) {
		d.fail(doc.LineOf(err.Field), err.Field, "%s", Explain(err))
	}
	d.docs = append(d.docs, doc)
}

// refuseZeroReplicas: 0 means "the default" in the types, but whoever writes it means none.
func (d *decoder) refuseZeroReplicas(doc *Document) {
	var counts map[string]int32
	switch o := doc.Object.(type) {
	case *Source:
		counts = map[string]int32{"spec.minReplicas": o.Spec.MinReplicas, "spec.maxReplicas": o.Spec.MaxReplicas}
	case *Cluster:
		counts = map[string]int32{"spec.minReplicas": o.Spec.MinReplicas}
	}
	for field, n := range counts {
		if n == 0 && doc.Mentions(field) {
			d.fail(doc.LineOf(field), field, "0 replicas would protect nothing: it must be at least 1; leave it out for the default")
		}
	}
}

// child is the value of a key of a mapping, nil where there is none.
func child(node *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return resolve(node.Content[i+1])
		}
	}
	return nil
}

func scalar(node *yaml.Node, key string) string {
	if value := child(node, key); value != nil && value.Kind == yaml.ScalarNode {
		return value.Value
	}
	return ""
}

// resolve follows an alias to what it stands for.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}
