package cli

import (
	"testing"

	v1 "clusterbackup/api/v1"
)

// TestEveryFieldIsExplained: a field that users can see has words of its own.
func TestEveryFieldIsExplained(t *testing.T) {
	for _, r := range v1.Resources() {
		s, err := schemaOf(r.Kind)
		if err != nil {
			t.Fatal(err)
		}
		unexplained(t, r.Kind, s)
	}
}

func unexplained(t *testing.T, path string, s *schema) {
	if s.Items != nil {
		s = s.Items
	}
	for name, field := range s.Properties {
		if field.Description == "" {
			t.Errorf("%s.%s: cbctl explain has nothing to say", path, name)
		}
		unexplained(t, path+"."+name, field)
	}
}
