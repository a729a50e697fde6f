package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	v1 "clusterbackup/api/v1"
)

// printObject prints anything as JSON or YAML.
func printObject(w io.Writer, format string, obj any) error {
	var data []byte
	var err error
	if format == "yaml" {
		data, err = marshalYAML(obj)
	} else {
		data, err = json.MarshalIndent(obj, "", "    ")
		data = append(data, '\n')
	}
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = w.Write(data)
	return err
}

// marshalYAML is YAML of anything, names with control characters in them included: YAML may not have those as they are, JSON may.
func marshalYAML(obj any) ([]byte, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	var escaped []byte
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r > '~' && r <= 0xffff && !unicode.IsPrint(r) {
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		} else {
			escaped = append(escaped, data[:n]...)
		}
		data = data[n:]
	}
	return yaml.JSONToYAML(escaped)
}

// printList prints objects as a list of their kind, or a List where there are several kinds. What it prints can be applied again.
func printList(w io.Writer, format string, kinds []string, objs []v1.Object) error {
	kind := "List"
	if len(kinds) == 1 {
		kind = kinds[0] + "List"
	}
	l := newListPrinter(w, format, kind)
	for _, obj := range objs {
		if err := l.item(obj); err != nil {
			return err
		}
	}
	return l.end("")
}

// listPrinter writes a list item by item, in the memory of one item.
type listPrinter struct {
	w      io.Writer
	format string
	kind   string
	items  int
}

func newListPrinter(w io.Writer, format, kind string) *listPrinter {
	return &listPrinter{w: w, format: format, kind: kind}
}

func (l *listPrinter) begin() error {
	var err error
	if l.format == "yaml" {
		_, err = fmt.Fprintf(l.w, "apiVersion: %s\nkind: %s\nitems:", v1.APIVersion, l.kind)
	} else {
		_, err = fmt.Fprintf(l.w, "{\n    \"apiVersion\": %q,\n    \"kind\": %q,\n    \"items\": [", v1.APIVersion, l.kind)
	}
	return err
}

func (l *listPrinter) item(obj any) error {
	if l.items == 0 {
		if err := l.begin(); err != nil {
			return err
		}
	}
	l.items++
	if l.format == "yaml" {
		data, err := marshalYAML(obj)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		text := strings.ReplaceAll(strings.TrimSuffix(string(data), "\n"), "\n", "\n  ")
		_, err = fmt.Fprintf(l.w, "\n- %s", text)
		return err
	}
	data, err := json.MarshalIndent(obj, "        ", "    ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	comma := ","
	if l.items == 1 {
		comma = ""
	}
	_, err = fmt.Fprintf(l.w, "%s\n        %s", comma, data)
	return err
}

// end closes the list; next is the token for the rest of it, "" where there is none.
func (l *listPrinter) end(next string) error {
	empty := l.items == 0
	if empty {
		if err := l.begin(); err != nil {
			return err
		}
	}
	var err error
	if l.format == "yaml" {
		if empty {
			fmt.Fprint(l.w, " []")
		}
		_, err = fmt.Fprintf(l.w, "\nmetadata: {%s}\n", yamlContinue(next))
		return err
	}
	if !empty {
		fmt.Fprint(l.w, "\n    ")
	}
	_, err = fmt.Fprintf(l.w, "],\n    \"metadata\": {%s}\n}\n", jsonContinue(next))
	return err
}

// Tokens are base64url: they need no quoting within quotes.
func jsonContinue(next string) string {
	if next == "" {
		return ""
	}
	return fmt.Sprintf("\"continue\": %q", next)
}

func yamlContinue(next string) string {
	if next == "" {
		return ""
	}
	return fmt.Sprintf("continue: %q", next)
}
