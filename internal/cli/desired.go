package cli

import (
	"context"
	"encoding/json"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// desiredObjects are the documents' objects as they should be stored: what cordon and drain have set, and no document mentions,
// stays as it is. Otherwise a configuration that is applied every night would end every maintenance.
func desiredObjects(ctx context.Context, c admin.Resources, docs []v1.Document) ([]v1.Object, error) {
	objs := make([]v1.Object, len(docs))
	for i := range docs {
		objs[i] = docs[i].Object
		if kind := v1.KindOf(objs[i]); kind != v1.KindHost && kind != v1.KindLocation {
			continue
		}
		live, err := get1(ctx, c, ref{v1.KindOf(objs[i]), objs[i].GetName()})
		switch {
		case admin.ReasonOf(err) == admin.NotFound:
			continue
		case err != nil:
			return nil, err
		}
		keepOperations(objs[i], live, &docs[i])
	}
	return objs, nil
}

// keepOperations copies from live what operations have set and the document does not mention.
func keepOperations(obj, live v1.Object, doc *v1.Document) {
	switch o := obj.(type) {
	case *v1.Location:
		if was, ok := live.(*v1.Location); ok {
			keep(&o.Spec.Cordoned, was.Spec.Cordoned, doc, "spec.cordoned")
			keep(&o.Spec.Draining, was.Spec.Draining, doc, "spec.draining")
		}
	case *v1.Host:
		if was, ok := live.(*v1.Host); ok {
			keep(&o.Spec.Cordoned, was.Spec.Cordoned, doc, "spec.cordoned")
			keep(&o.Spec.Draining, was.Spec.Draining, doc, "spec.draining")
			keep(&o.Spec.CordonedUntil, was.Spec.CordonedUntil, doc, "spec.cordonedUntil")
		}
	}
}

func keep[T any](field *T, was T, doc *v1.Document, name string) {
	if !doc.Mentions(name) {
		*field = was
	}
}

// userPart is what a person writes of an object, as YAML: name, labels, annotations and spec.
func userPart(obj v1.Object) string {
	if obj == nil {
		return ""
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return ""
	}
	var whole map[string]any
	if err := json.Unmarshal(data, &whole); err != nil {
		return ""
	}
	meta, _ := whole["metadata"].(map[string]any)
	part := map[string]any{
		"apiVersion": v1.APIVersion, "kind": v1.KindOf(obj), "spec": whole["spec"],
		"metadata": only(meta, "name", "labels", "annotations"),
	}
	text, err := marshalYAML(part)
	if err != nil {
		return ""
	}
	return string(text)
}

func only(m map[string]any, keys ...string) map[string]any {
	part := map[string]any{}
	for _, key := range keys {
		if value, ok := m[key]; ok {
			part[key] = value
		}
	}
	return part
}
