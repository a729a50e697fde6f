package v1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxFields bounds how many values one document may have, aliases followed: a small file can stand for a huge one.
const maxFields = 100_000

// notRead are fields that the cluster writes, never the user: they are passed over unread.
var notRead = []string{"status", "metadata.managedFields"}

// fieldReader fills a Go value from YAML nodes, by the json tags of its types, and notes on which line each field stands.
//
// +kubebuilder:object:generate=false
type fieldReader struct {
	*decoder
	lines map[string]int
	count int
}

func (r *fieldReader) readInto(obj Object, node *yaml.Node) {
	r.read(reflect.ValueOf(obj).Elem(), node, "")
}

func (r *fieldReader) read(into reflect.Value, node *yaml.Node, at string) {
	if r.count++; r.count > maxFields {
		if r.count == maxFields+1 {
			r.fail(node.Line, at, "more than %d values in one resource", maxFields)
		}
		return
	}
	node = resolve(node)
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return
	}
	if _, leaf := into.Addr().Interface().(json.Unmarshaler); leaf {
		r.readText(into, node, at)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		value := reflect.New(into.Type().Elem())
		r.read(value.Elem(), node, at)
		into.Set(value)
	case reflect.Struct:
		r.readStruct(into, node, at)
	case reflect.Slice:
		r.readSlice(into, node, at)
	case reflect.Map:
		r.readMap(into, node, at)
	default:
		r.readScalar(into, node, at)
	}
}

func (r *fieldReader) readStruct(into reflect.Value, node *yaml.Node, at string) {
	if node.Kind != yaml.MappingNode {
		r.fail(node.Line, at, "should have fields of its own%s", found(node))
		return
	}
	known := fieldsOf(into)
	r.eachKey(node, at, func(key string, keyNode, value *yaml.Node) {
		path := join(at, key)
		if slices.Contains(notRead, path) {
			return
		}
		target, ok := known[key]
		if !ok {
			r.fail(keyNode.Line, path, "unknown field%s", didYouMean(key, keysOf(known)))
			return
		}
		r.lines[path] = keyNode.Line
		r.read(target, value, path)
	})
}

func (r *fieldReader) readSlice(into reflect.Value, node *yaml.Node, at string) {
	if node.Kind != yaml.SequenceNode {
		r.fail(node.Line, at, `should be a list: ["…"]%s`, found(node))
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		path := fmt.Sprintf("%s[%d]", at, i)
		r.lines[path] = item.Line
		r.read(into.Index(i), item, path)
	}
}

func (r *fieldReader) readMap(into reflect.Value, node *yaml.Node, at string) {
	if node.Kind != yaml.MappingNode {
		r.fail(node.Line, at, "should be a map: {key: value}%s", found(node))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	r.eachKey(node, at, func(key string, keyNode, value *yaml.Node) {
		path := fmt.Sprintf("%s[%s]", at, key)
		r.lines[path] = keyNode.Line
		item := reflect.New(into.Type().Elem()).Elem()
		r.read(item, value, path)
		into.SetMapIndex(reflect.ValueOf(key), item)
	})
}

// eachKey calls visit for each key of a mapping; a key that is given twice is an error.
func (r *fieldReader) eachKey(node *yaml.Node, at string, visit func(key string, keyNode, value *yaml.Node)) {
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		keyNode := resolve(node.Content[i])
		switch key := keyNode.Value; {
		case keyNode.Kind != yaml.ScalarNode:
			r.fail(keyNode.Line, at, "has a key that is no word")
		case keyNode.Tag == "!!merge":
			r.fail(keyNode.Line, at, `merge keys ("<<") are not supported: write the fields out`)
		case first[key] > 0:
			r.fail(keyNode.Line, join(at, key), "is given twice (first on line %d)", first[key])
		default:
			first[key] = keyNode.Line
			visit(key, keyNode, node.Content[i+1])
		}
	}
}

// readText reads a type that decodes itself from a text: quantities, durations, times.
func (r *fieldReader) readText(into reflect.Value, node *yaml.Node, at string) {
	if node.Kind != yaml.ScalarNode {
		r.fail(node.Line, at, "should be %s%s", nounFor(into), found(node))
		return
	}
	text, err := json.Marshal(node.Value)
	if err == nil {
		err = json.Unmarshal(text, into.Addr().Interface())
	}
	if err != nil {
		r.fail(node.Line, at, "%q is not %s", node.Value, nounFor(into))
	}
}

func (r *fieldReader) readScalar(into reflect.Value, node *yaml.Node, at string) {
	if node.Kind != yaml.ScalarNode {
		r.fail(node.Line, at, "should be %s%s", nounFor(into), found(node))
		return
	}
	var err error
	switch into.Kind() {
	case reflect.String:
		into.SetString(node.Value)
	case reflect.Bool:
		var b bool
		err = node.Decode(&b)
		into.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(node.Value, 10, into.Type().Bits())
		into.SetInt(n)
	default:
		err = fmt.Errorf("no field is of type %s", into.Type())
	}
	if err != nil {
		r.fail(node.Line, at, "%q is not %s", node.Value, nounFor(into))
	}
}

// nounFor says what a field takes, with an example.
func nounFor(v reflect.Value) string {
	switch v.Interface().(type) {
	case resource.Quantity:
		return "an amount of bytes (700Gi, 50G, 1048576)"
	case metav1.Duration:
		return "a duration (90s, 15m, 720h)"
	case metav1.Time:
		return "a time (2026-11-22T15:04:05Z)"
	}
	switch v.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	}
	return "a " + v.Kind().String()
}

func found(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return ", not a map"
	case yaml.SequenceNode:
		return ", not a list"
	}
	return fmt.Sprintf(", not %q", node.Value)
}

// fieldsOf are the fields of a struct by their json names, those of inlined structs included.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name != "":
			fields[name] = v.Field(i)
		case strings.Contains(options, "inline"):
			for inlined, field := range fieldsOf(v.Field(i)) {
				fields[inlined] = field
			}
		}
	}
	return fields
}

func keysOf(m map[string]reflect.Value) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// Explain is what a validation error says about its field, for people.
func Explain(err *field.Error) string {
	switch err.Type {
	case field.ErrorTypeRequired:
		return "is missing: " + err.Detail
	case field.ErrorTypeForbidden:
		return err.Detail
	}
	if text, ok := err.BadValue.(string); ok {
		return fmt.Sprintf("%q: %s", text, err.Detail)
	}
	return fmt.Sprintf("%v: %s", err.BadValue, err.Detail)
}

// didYouMean proposes the known word that is nearest, where one is near.
func didYouMean(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", 3
	for _, candidate := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(candidate)); d < least && d < len(candidate) {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is Levenshtein's: how many letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
