package web

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
)

type resources struct {
	objs map[string][]v1.Object
	err  error
}

func (r resources) Get(_ context.Context, kind string, _ ...string) ([]v1.Object, error) {
	return r.objs[kind], r.err
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func condition(kind string, status metav1.ConditionStatus, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Message: message, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}
}

func source(name string, conditions ...metav1.Condition) *v1.Source {
	s := v1.New(v1.KindSource).(*v1.Source)
	s.Name = name
	s.Spec = v1.SourceSpec{Host: "mini", Path: "/tank/" + name}
	s.Status = v1.SourceStatus{Files: 10, Bytes: 5 << 30, Underserved: 2, Replicas: []int64{1, 1, 8}, Conditions: append(conditions, condition(v1.ConditionAvailable, "True", ""))}
	return s
}

func get(from Resources, path string) (*httptest.ResponseRecorder, string) {
	answer := httptest.NewRecorder()
	page := Handler(from, Options{Host: "mini", Version: "v1", Now: func() time.Time { return now }})
	page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer, answer.Body.String()
}

func TestPageShowsEverythingAndBelievesNothing(t *testing.T) {
	location := v1.New(v1.KindLocation).(*v1.Location)
	location.Name, location.Spec.Host, location.Spec.Draining = "usb", "rpi1", true
	location.Status = v1.LocationStatus{Capacity: 100 << 30, Used: 40 << 30, Free: 60 << 30, Replicas: 7, Waiting: "room elsewhere",
		Conditions: []metav1.Condition{condition(v1.ConditionAvailable, "True", ""), condition(v1.ConditionDrained, "False", "")}}
	host := v1.New(v1.KindHost).(*v1.Host)
	host.Name, host.Spec.Address = "rpi1", "rpi1.lan:7420"
	host.Status.Conditions = []metav1.Condition{condition(v1.ConditionReady, "False", "silent")}
	photos := source("photos", condition(v1.ConditionProtected, "False", "2 files lack replicas"))
	photos.Status.Problems = []v1.Problem{{Path: `<script>alert("x")</script>`, Reason: "Unreadable", Message: "permission denied"}}
	answer, page := get(resources{objs: map[string][]v1.Object{
		v1.KindSource:   {photos, source("music", condition(v1.ConditionProtected, "True", ""))},
		v1.KindLocation: {location},
		v1.KindHost:     {host},
	}}, "/")
	if answer.Code != http.StatusOK || answer.Header().Get("Cache-Control") != "no-store" || !strings.Contains(answer.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("status %d, header %v", answer.Code, answer.Header())
	}
	for _, want := range []string{
		"<h1>1 of 2 sources not fully protected</h1>", "/tank/photos", "8 × 2, 1 × 1, 1 × 0", "5 GiB", `max="10" value="8"`,
		"available, draining", "40 GiB of 100 GiB", "room elsewhere", "not ready", "rpi1.lan:7420",
		"Protected is False", "2 files lack replicas", "60m ago", "&lt;script&gt;", "permission denied", "host/rpi1", "Ready is False",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "Drained is") {
		t.Error("the page has a script, or takes an unfinished drain for trouble")
	}
	wellFormed(t, page)
}

// wellFormed checks that tags are closed in the order in which they were opened.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	elements := 0
	for {
		switch token, err := d.Token(); {
		case errors.Is(err, io.EOF):
			if elements < 50 {
				t.Errorf("only %d elements", elements)
			}
			return
		case err != nil:
			t.Fatalf("the page is not well formed: %v", err)
		default:
			if _, ok := token.(xml.StartElement); ok {
				elements++
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	fine := source("photos", condition(v1.ConditionProtected, "True", ""), condition(v1.ConditionDeletionsHeld, "False", ""))
	held := source("photos", condition(v1.ConditionProtected, "True", ""), condition(v1.ConditionDeletionsHeld, "True", "120 files"))
	for want, from := range map[string]resources{
		"Everything is protected":            {objs: map[string][]v1.Object{v1.KindSource: {fine}}},
		"1 of 1 sources not fully protected": {objs: map[string][]v1.Object{v1.KindSource: {held}}},
		"Not everything is known":            {objs: map[string][]v1.Object{v1.KindSource: {fine, source("music")}}},
		"Nothing to protect yet":             {},
	} {
		if _, page := get(from, "/"); !strings.Contains(page, "<h1>"+want) {
			t.Errorf("want %q in\n%s", want, page)
		}
	}
	_, page := get(resources{err: fmt.Errorf("no <answer>")}, "/")
	if !strings.Contains(page, "<h1>Not everything is known") || !strings.Contains(page, "sources: no &lt;answer&gt;") {
		t.Errorf("what cannot be read is not told:\n%s", page)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	if answer, _ := get(resources{}, "/etc/passwd"); answer.Code != http.StatusNotFound {
		t.Errorf("status %d", answer.Code)
	}
}

// Of what only a host that does not answer could tell, the page does not say that there is nothing.
func TestPageSaysWhatItDoesNotKnow(t *testing.T) {
	silent := v1.New(v1.KindSource).(*v1.Source)
	silent.Name, silent.Status.Conditions = "silent", []metav1.Condition{condition(v1.ConditionAvailable, "Unknown", "its host does not answer")}
	_, page := get(resources{objs: map[string][]v1.Object{v1.KindSource: {silent}}}, "/")
	if strings.Contains(page, "never") || !strings.Contains(page, `<td class="number">unknown</td>`) {
		t.Errorf("the page says more than it knows:\n%s", page)
	}
}
