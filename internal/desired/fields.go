package desired

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fieldsOf is an object as the user would write it: no status, no empty metadata, 720h rather than 720h0m0s.
func fieldsOf(obj v1.Object) (map[string]any, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	fields, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	delete(fields, "status")
	meta := fields["metadata"].(map[string]any)
	maps.DeleteFunc(meta, func(_ string, value any) bool { return value == nil })
	shorten(reflect.ValueOf(obj), fields)
	return fields, nil
}

// wanted is what users decide about a resource. Two objects that want the same are the same to Apply.
func wanted(obj v1.Object) (spec, rest string, err error) {
	fields, err := fieldsOf(obj)
	if err != nil {
		return "", "", err
	}
	s, err := json.Marshal(fields["spec"])
	if err != nil {
		return "", "", err
	}
	r, err := json.Marshal([]any{orEmpty(obj.GetLabels()), orEmpty(obj.GetAnnotations())})
	return string(s), string(r), err
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

var durationType = reflect.TypeFor[metav1.Duration]()

// shorten rewrites the durations of v within its JSON form.
func shorten(v reflect.Value, in any) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch fields := in.(type) {
	case []any:
		if v.Kind() == reflect.Slice && v.Len() == len(fields) {
			for i := range fields {
				shorten(v.Index(i), fields[i])
			}
		}
	case map[string]any:
		if v.Kind() == reflect.Struct {
			shortenStruct(v, fields)
		}
	}
}

func shortenStruct(v reflect.Value, fields map[string]any) {
	for i := range v.NumField() {
		field := v.Field(i)
		tag := strings.Split(v.Type().Field(i).Tag.Get("json"), ",")
		if tag[0] == "" && slices.Contains(tag, "inline") {
			shorten(field, fields)
			continue
		}
		value, ok := fields[tag[0]]
		if !ok {
			continue
		}
		for field.Kind() == reflect.Pointer && !field.IsNil() {
			field = field.Elem()
		}
		if field.Type() == durationType {
			fields[tag[0]] = shortDuration(field.Interface().(metav1.Duration).Duration)
			continue
		}
		shorten(field, value)
	}
}

// shortDuration leaves out what is zero at the end: 720h, 1h30m, 15s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
