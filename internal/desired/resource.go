package desired

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// maxResource is how many bytes one resource may have.
const maxResource = 256 << 10

// resource is one version of one resource. Its JSON is what counts: a field that only a newer release knows is kept and passed on,
// although the object does not show it. A resource is never changed once made.
type resource struct {
	kind, name string
	version    Version
	// deleted is when it was deleted; zero: it is there.
	deleted time.Time
	// json is canonical: keys sorted, no spaces, no status.
	json []byte
	// object is nil where this release cannot understand the resource.
	object v1.Object
}

// key tells resources apart. Kind is in lower case, as in the file's name.
type key struct{ kind, name string }

func keyOf(kind, name string) key { return key{strings.ToLower(kind), name} }

func (k key) String() string   { return k.kind + "/" + k.name }
func (k key) fileName() string { return k.kind + "." + k.name + ".yaml" }

func (r *resource) key() key { return keyOf(r.kind, r.name) }

// live tells whether the resource is desired, in contrast to a tombstone.
func (r *resource) live() bool { return r != nil && r.deleted.IsZero() }

// copy is the object for a caller to keep.
func (r *resource) copy() v1.Object { return r.object.DeepCopyObject().(v1.Object) }

// header is what every resource has, of whatever release.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name              string    `json:"name"`
		ResourceVersion   string    `json:"resourceVersion"`
		DeletionTimestamp time.Time `json:"deletionTimestamp"`
	} `json:"metadata"`
}

var kindPattern = regexp.MustCompile(`^[A-Z][A-Za-z]{0,30}$`)

// errEdited: the digest in a resource's version is not that of the resource: somebody edited it, or it never had one.
var errEdited = errors.New("resource differs from what its resourceVersion says")

// parseResource reads what a store has written, here or on another host. What it cannot understand but is whole it keeps: object is
// nil then. With errEdited the resource is returned too, as far as it could be read.
func parseResource(data []byte) (*resource, error) {
	if len(data) > maxResource {
		return nil, fmt.Errorf("resource has %d bytes, more than %d", len(data), maxResource)
	}
	fields, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	delete(fields, "status")
	var h header
	canonical, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(canonical, &h)
	}
	if err != nil {
		return nil, err
	}
	if err := checkHeader(&h); err != nil {
		return nil, err
	}
	r := &resource{kind: h.Kind, name: h.Metadata.Name, deleted: h.Metadata.DeletionTimestamp, json: canonical, object: objectOf(h.Kind, canonical)}
	if r.version, err = ParseVersion(h.Metadata.ResourceVersion); err != nil {
		return r, fmt.Errorf("%w: %w", errEdited, err)
	}
	if digestOf(fields) != r.version.Digest {
		return r, errEdited
	}
	return r, nil
}

func checkHeader(h *header) error {
	if !strings.HasPrefix(h.APIVersion, "clusterbackup/") {
		return fmt.Errorf("apiVersion is %q, want %s", h.APIVersion, v1.APIVersion)
	}
	if !kindPattern.MatchString(h.Kind) {
		return fmt.Errorf("kind is %q", h.Kind)
	}
	return v1.ValidateName(h.Metadata.Name)
}

func parseFields(data []byte) (map[string]any, error) {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more than one resource")
	}
	return fields, nil
}

// objectOf is the resource as this release knows it, nil if it does not.
func objectOf(kind string, data []byte) v1.Object {
	obj := v1.New(kind)
	if obj == nil || json.Unmarshal(data, obj) != nil || len(v1.Validate(obj)) > 0 {
		return nil
	}
	return obj
}

// newResource makes a version of a resource out of an object, whose resourceVersion it sets.
func newResource(obj v1.Object, v Version) (*resource, error) {
	v1.SetKind(obj)
	v1.ClearStatus(obj)
	obj.SetResourceVersion("")
	obj.SetManagedFields(nil)
	obj.SetFinalizers(nil)
	obj.SetOwnerReferences(nil)
	obj.SetGenerateName("")
	obj.SetNamespace("")
	fields, err := fieldsOf(obj)
	if err != nil {
		return nil, err
	}
	v.Digest = digestOf(fields)
	fields["metadata"].(map[string]any)["resourceVersion"] = v.String()
	canonical, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	if len(canonical) > maxResource {
		return nil, fmt.Errorf("%s: %w: it has %d bytes, more than %d", v1.RefOf(obj), ErrInvalid, len(canonical), maxResource)
	}
	return parseResource(canonical)
}

// digestOf is over everything but the version itself.
func digestOf(fields map[string]any) string {
	meta, _ := fields["metadata"].(map[string]any)
	if version, ok := meta["resourceVersion"]; ok {
		delete(meta, "resourceVersion")
		defer func() { meta["resourceVersion"] = version }()
	}
	canonical, err := json.Marshal(fields)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:8])
}

// yaml is the resource as a file.
func (r *resource) yaml() ([]byte, error) { return yaml.JSONToYAML(r.json) }

// parseFile reads a resource's file, as parseResource does.
func parseFile(data []byte) (*resource, error) {
	if len(data) > 2*maxResource {
		return nil, fmt.Errorf("file has %d bytes, more than %d", len(data), 2*maxResource)
	}
	converted, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	r, err := parseResource(converted)
	if err == nil && !single(data) {
		err = errEdited // only the first document was read
	}
	return r, err
}

// single tells whether a file is one YAML document.
func single(data []byte) bool {
	d := yamlv3.NewDecoder(bytes.NewReader(data))
	var node yamlv3.Node
	return d.Decode(&node) == nil && errors.Is(d.Decode(&node), io.EOF)
}
