package v1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func decodeOne(t *testing.T, kind, name, spec string) Object {
	t.Helper()
	docs, err := Decode([]byte(document(kind, name, spec)), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return docs[0].Object
}

func document(kind, name, spec string) string {
	return fmt.Sprintf("apiVersion: clusterbackup/v1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", kind, name, spec)
}

func TestValidateRefuses(t *testing.T) {
	for _, c := range []struct{ kind, name, spec, field, word string }{
		{KindSource, "s", "{path: /p}", "spec.host", "is missing"},
		{KindSource, "s", "{host: h}", "spec.path", "absolute path"},
		{KindSource, "s", "{host: H, path: /p}", "spec.host", "lower-case"},
		{KindSource, "s", "{host: h, path: /p/../q}", "spec.path", "/q"},
		{KindSource, "s", "{host: h, path: /p, minReplicas: -1}", "spec.minReplicas", "at least 1"},
		{KindSource, "s", "{host: h, path: /p, minReplicas: 3, maxReplicas: 2}", "spec.maxReplicas", "less than minReplicas"},
		{KindSource, "s", "{host: h, path: /p, minReplicas: 1000}", "spec.minReplicas", "at most"},
		{KindSource, "s", "{host: h, path: /p, spread: 'a b'}", "spec.spread", "label key"},
		{KindSource, "s", "{host: h, path: /p, exclude: ['*.o', '']}", "spec.exclude[1]", "empty"},
		{KindSource, "s", "{host: h, path: /p, scanInterval: 0s}", "spec.scanInterval", "at least"},
		{KindSource, "s", "{host: h, path: /p, retention: {deleted: -1h}}", "spec.retention.deleted", "negative"},
		{KindSource, "s", "{host: h, path: /p, retention: {maxVersions: -1}}", "spec.retention.maxVersions", "negative"},
		{KindSource, "s", "{host: h, path: /p, verify: {sampleAbove: -1}}", "spec.verify.sampleAbove", "negative"},
		{KindSource, strings.Repeat("a", 64), "{host: h, path: /p}", "metadata.name", "at most 63"},
		{KindSource, "a.b", "{host: h, path: /p}", "metadata.name", "lower-case"},
		{KindLocation, "l", "{host: h, path: /p}", "spec.capacity", "reserve"},
		{KindLocation, "l", "{host: h, path: /p, capacity: -1Gi}", "spec.capacity", "negative"},
		{KindLocation, "l", "{host: h, path: /p, capacity: 0}", "spec.capacity", "at least 1"},
		{KindLocation, "l", "{host: h, path: /p, capacity: 1m}", "spec.capacity", "whole number of bytes"},
		{KindLocation, "l", "{host: h, path: /p, capacity: 10E}", "spec.capacity", "whole number of bytes"},
		{KindLocation, "l", "{host: h, path: /p, reserve: -1}", "spec.reserve", "negative"},
		{KindLocation, "l", "{host: h, path: /, reserve: 1Gi}", "spec.path", "folder of its own"},
		{KindLocation, "l", "{host: h, path: ./b, reserve: 1Gi}", "spec.path", "relative"},
		{KindHost, "h", "{}", "spec.address", "is missing"},
		{KindHost, "h", "{address: rpi1}", "spec.address", "HOST:PORT"},
		{KindHost, "h", "{address: 'rpi1:http'}", "spec.address", "number"},
		{KindHost, "h", "{address: '0.0.0.0:7420'}", "spec.address", "cannot reach"},
		{KindHost, "h", "{address: 'a:1', limits: {upload: 0}}", "spec.limits.upload", "at least 1"},
		{KindHost, "h", "{address: 'a:1', limits: {windows: ['night']}}", "spec.limits.windows[0]", "22:00-06:00"},
		{KindCluster, "home", "{}", "metadata.name", `"cluster"`},
		{KindCluster, "cluster", "{pollInterval: 0s}", "spec.pollInterval", "at least"},
		{KindCluster, "cluster", "{minReplicas: 0}", "spec.minReplicas", "at least 1"},
	} {
		_, err := Decode([]byte(document(c.kind, c.name, c.spec)), "f")
		if err == nil || !strings.Contains(err.Error(), c.field+": ") || !strings.Contains(err.Error(), c.word) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s %s %s: got %v; want an error about %s with %q", c.kind, c.name, c.spec, err, c.field, c.word)
		}
	}
}

func TestDefaults(t *testing.T) {
	src := decodeOne(t, KindSource, "s", "{host: h, path: /p, retention: {versions: 0s}}").(*Source)
	Default(src, nil)
	want := decodeOne(t, KindSource, "s", `{host: h, path: /p, minReplicas: 2, maxReplicas: 2, spread: host, oneFileSystem: true, scanInterval: 15m,
  retention: {deleted: 720h, versions: 0s, maxVersions: 10}, verify: {interval: 720h, sampleAbove: 64Mi}}`)
	if diff := cmp.Diff(want, Object(src)); diff != "" {
		t.Errorf("defaults:\n%s", diff)
	}
	Default(src, &ClusterSpec{MinReplicas: 5})
	if src.Spec.MinReplicas != 2 {
		t.Error("defaulting again changed what was set")
	}
	other := decodeOne(t, KindSource, "s", "{host: h, path: /p, maxReplicas: 3}").(*Source)
	Default(other, &ClusterSpec{MinReplicas: 4})
	if other.Spec.MinReplicas != 4 || other.Spec.MaxReplicas != 4 {
		t.Errorf("with a cluster's 4: %d to %d", other.Spec.MinReplicas, other.Spec.MaxReplicas)
	}
}

func TestValidateSet(t *testing.T) {
	host := func(name string) Object { return decodeOne(t, KindHost, name, "{address: 'a:1'}") }
	source := func(name, host, path string) Object {
		return decodeOne(t, KindSource, name, fmt.Sprintf("{host: %s, path: %s, minReplicas: 1}", host, path))
	}
	location := func(name, host, path string) Object {
		return decodeOne(t, KindLocation, name, fmt.Sprintf("{host: %s, path: %s, reserve: 1Gi}", host, path))
	}
	fine := []Object{host("a"), host("b"), source("s", "a", "/tank"), source("sub", "a", "/tank/sub"), location("l", "b", "/tank"), location("m", "a", "/tanks")}
	if errs, warnings := ValidateSet(fine); len(errs)+len(warnings) > 0 {
		t.Fatalf("a fine set: %v, %v", errs, warnings)
	}
	for name, c := range map[string]struct {
		change     Object
		refs, word string
		warning    bool
	}{
		"location under a source":  {location("x", "a", "/tank/backup"), "location/x source/s", "backed up again", false},
		"location on a source":     {location("x", "a", "/tank/"), "location/x source/s", "backed up again", false},
		"source under a location":  {source("x", "b", "/tank/s"), "source/x location/l", "for replicas alone", false},
		"two sources on one path":  {source("x", "a", "/tank/"), "source/x source/s", "already", false},
		"two locations on a path":  {location("x", "b", "/tank"), "location/x location/l", "already", false},
		"location in another":      {location("x", "b", "/tank/x"), "location/x location/l", "within one another", false},
		"unknown host":             {location("x", "c", "/tank"), "location/x host/c", "until it joins", true},
		"more replicas than hosts": {decodeOne(t, KindSource, "x", "{host: a, path: /x}"), "source/x", "2 replicas are wanted, but only 1 other host has", true},
	} {
		errs, warnings := ValidateChange(fine, []Object{c.change})
		got := errs
		if c.warning {
			got = warnings
		}
		if len(got) == 0 || !strings.Contains(got[0].Message, c.word) {
			t.Errorf("%s: errors %v, warnings %v", name, errs, warnings)
			continue
		}
		for _, ref := range strings.Fields(c.refs) {
			if !strings.Contains(strings.Join(got[0].Refs, " "), ref) {
				t.Errorf("%s: concerns %v, want %s", name, got[0].Refs, ref)
			}
		}
		// What is wrong already does not stand in the way of something else.
		if errs, warnings := ValidateChange(append(fine, c.change), []Object{host("b")}); len(errs)+len(warnings) > 0 {
			t.Errorf("%s stands in the way of host/b: %v %v", name, errs, warnings)
		}
	}
}
