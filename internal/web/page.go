// Package web is the status page: one page, rendered here, that shows at a glance whether everything is protected, and if not, what
// to look at. It needs no script, loads nothing from anywhere, changes nothing, and refreshes itself.
package web

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"time"

	v1 "clusterbackup/api/v1"
)

// Resources is where the page reads from: objects of a kind, sorted by name, with status. admin.Backend is one.
type Resources interface {
	Get(ctx context.Context, kind string, names ...string) ([]v1.Object, error)
}

// Options say whose page it is.
type Options struct {
	// Host is the host that answers, Version its program's.
	Host    v1.HostName
	Version string
	// Now is nil: time.Now.
	Now func() time.Time
}

// answerTimeout bounds how long the page waits for what it shows: a page with a gap is better than none.
const answerTimeout = 10 * time.Second

//go:embed page.html
var pageHTML string

// Handler serves the page at "/" and nothing else.
func Handler(from Resources, opts Options) http.Handler {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	page := template.Must(template.New("page").Parse(pageHTML))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		var body bytes.Buffer
		if err := page.Execute(&body, gather(ctx, from, opts)); err != nil {
			http.Error(w, "the page cannot be shown: "+err.Error(), http.StatusInternalServerError)
			return
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(body.Bytes()) // whoever has gone away needs no page
	})
}
