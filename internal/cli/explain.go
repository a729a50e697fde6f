package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	v1 "clusterbackup/api/v1"
	"clusterbackup/config/crd"
)

func (p *Program) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "explain KIND[.FIELD...]",
		Short:   "Explain a kind's fields",
		Example: "  cbctl explain source\n  cbctl explain source.spec.retention",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			word, path, _ := strings.Cut(args[0], ".")
			kind, err := parseKind(word)
			if err != nil {
				return err
			}
			s, err := schemaOf(kind)
			if err != nil {
				return err
			}
			field, err := s.at(kind, path)
			if err != nil {
				return err
			}
			explain(p.out, kind, path, field)
			return nil
		},
	}
}

// schema is the part of an OpenAPI schema that is shown.
type schema struct {
	Type        string             `json:"type"`
	Format      string             `json:"format"`
	Description string             `json:"description"`
	Enum        []string           `json:"enum"`
	Required    []string           `json:"required"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
	AnyOf       []schema           `json:"anyOf"`
}

// schemaOf reads a kind's schema from its generated CustomResourceDefinition.
func schemaOf(kind string) (*schema, error) {
	r, _ := v1.ResourceFor(kind)
	data, err := crd.Files.ReadFile("clusterbackup_" + r.Plural + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &definition); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if len(definition.Spec.Versions) == 0 {
		return nil, fmt.Errorf("read schema: %s has no version", kind)
	}
	s := &definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	for name, text := range common {
		if field := s.Properties[name]; field != nil {
			field.Description = text
		}
	}
	return s, nil
}

// common are the fields that all kinds have, in words of this program rather than of the library that declares them.
var common = map[string]string{
	"apiVersion": "The version of this form: " + v1.APIVersion + ".",
	"kind":       "What the object is.",
	"metadata":   "The name, labels for your own use, and what the cluster notes: uid, generation, resourceVersion.",
}

// at walks down to a field.
func (s *schema) at(kind, path string) (*schema, error) {
	if path == "" {
		return s, nil
	}
	for name := range strings.SplitSeq(path, ".") {
		if s.Items != nil {
			s = s.Items
		}
		next := s.Properties[name]
		if next == nil {
			return nil, usagef("%s has no field %q: %s", kind, name, strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", "))
		}
		s = next
	}
	return s, nil
}

func explain(w io.Writer, kind, path string, s *schema) {
	fmt.Fprintf(w, "KIND:     %s\nVERSION:  %s\n", kind, v1.APIVersion)
	if path != "" {
		fmt.Fprintf(w, "FIELD:    %s <%s>\n", path, s.noun())
	}
	fmt.Fprintf(w, "\nDESCRIPTION:\n%s\n", wrap(s.Description, 4, 100))
	fields := s.Properties
	if s.Items != nil {
		fields = s.Items.Properties
	}
	if len(fields) == 0 {
		return
	}
	fmt.Fprintln(w, "\nFIELDS:")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		required := ""
		if slices.Contains(s.Required, name) {
			required = " -required-"
		}
		fmt.Fprintf(w, "  %s\t<%s>%s\n%s\n", name, fields[name].noun(), required, wrap(fields[name].Description, 6, 100))
	}
}

// noun is a field's type, for people.
func (s *schema) noun() string {
	switch {
	case s.Type == "array" && s.Items != nil:
		return "[]" + s.Items.noun()
	case len(s.AnyOf) > 0:
		return "quantity"
	case s.Type == "object" && len(s.Properties) == 0:
		return "map"
	case s.Format != "":
		return s.Type + ", " + s.Format
	}
	return s.Type
}

// wrap breaks text into indented lines of at most width columns.
func wrap(text string, indent, width int) string {
	var out strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			out.WriteString(strings.Repeat(" ", indent))
			column = indent
		case column+1+len(word) > width:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}
