package cli

import (
	"fmt"
	"strings"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// ref is an object named on the command line.
type ref struct{ kind, name string }

func (r ref) String() string { return v1.Ref(r.kind, r.name) }

// parseKind reads a kind in any spelling.
func parseKind(word string) (string, error) {
	r, ok := v1.ResourceFor(word)
	if !ok {
		return "", usagef("%q is no kind: it is one of sources (src), locations (loc), hosts, files, cluster", word)
	}
	return r.Kind, nil
}

// parseRefs reads "KIND NAME…" or "KIND/NAME…". Of a file, NAME is SOURCE/PATH. There is at least one.
func parseRefs(args []string) ([]ref, error) {
	if len(args) == 0 {
		return nil, usagef("name what is meant: KIND NAME or KIND/NAME")
	}
	if _, ok := v1.ResourceFor(args[0]); ok {
		kind, err := parseKind(args[0])
		if err != nil {
			return nil, err
		}
		if len(args) == 1 && kind == v1.KindCluster {
			return []ref{{kind, v1.ClusterName}}, nil
		}
		if len(args) == 1 {
			return nil, usagef("%s: name which one", args[0])
		}
		refs := make([]ref, len(args)-1)
		for i, name := range args[1:] {
			refs[i] = ref{kind, name}
		}
		return refs, nil
	}
	refs := make([]ref, len(args))
	for i, arg := range args {
		word, name, slashed := strings.Cut(arg, "/")
		if !slashed || name == "" {
			return nil, usagef("%q is neither KIND NAME nor KIND/NAME", arg)
		}
		kind, err := parseKind(word)
		if err != nil {
			return nil, err
		}
		refs[i] = ref{kind, name}
	}
	return refs, nil
}

// parseRef is parseRefs of exactly one.
func parseRef(args []string) (ref, error) {
	refs, err := parseRefs(args)
	if err != nil {
		return ref{}, err
	}
	if len(refs) != 1 {
		return ref{}, usagef("%d objects are named, one is wanted", len(refs))
	}
	return refs[0], nil
}

// parseFilePath reads SOURCE[/PATH]. A slash at the end, as shells complete folders, is forgiven.
func parseFilePath(arg string) (v1.SourceName, v1.RelPath, error) {
	arg = strings.TrimPrefix(arg, "source/")
	source, rest, _ := strings.Cut(arg, "/")
	if err := v1.ValidateName(source); err != nil {
		return "", "", usagef("%s: it should be SOURCE or SOURCE/PATH", err)
	}
	rest = strings.TrimRight(rest, "/")
	if rest == "" {
		return v1.SourceName(source), "", nil
	}
	path, err := v1.ParseRelPath(rest)
	if err != nil {
		return "", "", usagef("%s: %v", arg, err)
	}
	return v1.SourceName(source), path, nil
}

// size is bytes for people, in powers of 1024: "1.5Gi".
func size(bytes int64) string {
	if bytes < 0 {
		return "-" + size(-bytes)
	}
	if bytes < 1024 {
		return fmt.Sprint(bytes)
	}
	value, unit := float64(bytes), ""
	for _, unit = range []string{"Ki", "Mi", "Gi", "Ti", "Pi", "Ei"} {
		if value /= 1024; value < 1023.5 {
			break
		}
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f%s", value, unit)
	}
	return fmt.Sprintf("%.0f%s", value, unit)
}

// exactSize is a size with all its digits: "1.5Gi (1610612736 bytes)".
func exactSize(bytes int64) string {
	if bytes < 1024 {
		return count(bytes, "byte")
	}
	return fmt.Sprintf("%s (%d bytes)", size(bytes), bytes)
}

// count is "1 file", "2 files".
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// notFound is the error for an object that is not there.
func notFound(r ref) error {
	return admin.Errorf(admin.NotFound, r.String(), "there is no such %s", strings.ToLower(r.kind)).
		WithHint("`cbctl get %ss` lists them", strings.ToLower(r.kind))
}
