package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/goairlock/airlock/inspect"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS []byte

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": count, "age": age, "when": when, "reason": reason, "attempts": attempts, "clean": clean,
}).Parse(pageHTML))

// page is the handler of the page. It answers only to its own hosts, so that a name of
// somebody else that resolves to this address (DNS rebinding) shows nothing. It acts
// only on forms that it has made itself: they have its token and come from its origin.
type page struct {
	view  inspect.Inspector
	place string
	write bool
	hosts []string
	token string
	mux   *http.ServeMux
}

func newPage(v inspect.Inspector, place string, write bool, hosts []string) http.Handler {
	p := &page{view: v, place: place, write: write, hosts: hosts, token: rand.Text(), mux: http.NewServeMux()}
	p.mux.HandleFunc("GET /{$}", p.show)
	p.mux.HandleFunc("GET /page.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(pageCSS)
	})
	p.mux.HandleFunc("POST /retry", p.act(func(ctx context.Context, f url.Values) error {
		return p.view.Retry(ctx, f.Get("queue"), f.Get("id"))
	}))
	p.mux.HandleFunc("POST /discard", p.act(func(ctx context.Context, f url.Values) error {
		return p.view.Discard(ctx, f.Get("queue"), f.Get("id"))
	}))
	return p
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer a form has the origin null
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !slices.Contains(p.hosts, r.Host) {
		http.Error(w, "airlock does not serve this host: see -host", http.StatusMisdirectedRequest)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// own reports whether a request comes from a form of this page. A proxy with TLS
// before the page makes the origin https.
func (p *page) own(r *http.Request) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host != r.Host || origin.Scheme != "http" && origin.Scheme != "https" {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(r.PostForm.Get("token")), []byte(p.token)) == 1
}

// act returns the handler of a form.
func (p *page) act(do func(context.Context, url.Values) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		switch err := r.ParseForm(); {
		case err != nil:
			http.Error(w, "the form cannot be read", http.StatusBadRequest)
			return
		case !p.write:
			http.Error(w, "this page changes nothing: start it with -write", http.StatusForbidden)
			return
		case !p.own(r):
			http.Error(w, "the form is not of this page: load it again", http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), pageLimit)
		defer cancel()
		if err := do(ctx, r.PostForm); err != nil {
			w.WriteHeader(statusOf(err))
			p.render(ctx, w, r.PostForm.Get("queue"), "", err)
			return
		}
		http.Redirect(w, r, "/?queue="+url.QueryEscape(r.PostForm.Get("queue")), http.StatusSeeOther)
	}
}

func statusOf(err error) int {
	switch exitCode(err) {
	case exitNotFound:
		return http.StatusNotFound
	case exitRefused:
		return http.StatusConflict
	}
	return http.StatusBadGateway
}

func (p *page) show(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageLimit)
	defer cancel()
	p.render(ctx, w, r.URL.Query().Get("queue"), r.URL.Query().Get("after"), nil)
}

// render writes the page, with an error of an action if there is one.
func (p *page) render(ctx context.Context, w http.ResponseWriter, queue, after string, failed error) {
	o := overview{Place: p.place, Now: time.Now().Format(time.DateTime), Write: p.write, Token: p.token, Queue: queue}
	c := call{view: p.view}
	var err error
	if o.Queues, err = c.depths(ctx); err != nil {
		var why *inspect.UnsupportedError
		if errors.As(err, &why) && queue != "" { // queues cannot be listed: show the one
			var d inspect.Depth
			if d, err = p.view.Depth(ctx, queue); err == nil {
				o.Queues = []inspect.Depth{d}
			}
		}
	}
	if err == nil && queue != "" {
		var dead inspect.Page
		dead, err = p.view.List(ctx, inspect.Query{Queue: queue, State: inspect.Dead, Limit: rows, Cursor: after})
		o.Dead, o.Next = dead.Jobs, dead.Next
	}
	switch {
	case failed != nil:
		o.Error = clean(textOf(failed))
	case err != nil:
		o.Error = clean(textOf(err))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if failed == nil && err != nil {
		w.WriteHeader(statusOf(err))
	}
	_ = pageTemplate.Execute(w, o)
}
