package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// fake is an inspector of one queue with one dead job.
type fake struct {
	inspect.Inspector
	err  error // of every method
	did  []string
	task string
	text string
}

func (f *fake) Queues(context.Context) ([]string, error) { return []string{"mail"}, f.err }

func (f *fake) Depth(_ context.Context, queue string) (inspect.Depth, error) {
	return inspect.Depth{Queue: queue, Waiting: inspect.CountOf(7), Dead: inspect.CountOf(1)}, f.err
}

func (f *fake) List(context.Context, inspect.Query) (inspect.Page, error) {
	j := inspect.Job{ID: "7f3a", Task: f.task, Queue: "mail", State: inspect.Dead, Error: f.text, Attempts: 3, MaxAttempts: 25}
	return inspect.Page{Jobs: []inspect.Job{j.WithPayload([]byte("s3cr3t"))}, Next: "cursor&1"}, f.err
}

func (f *fake) Retry(_ context.Context, queue, id string) error {
	f.did = append(f.did, "retry "+queue+" "+id)
	return f.err
}

func (f *fake) Discard(_ context.Context, queue, id string) error {
	f.did = append(f.did, "discard "+queue+" "+id)
	return f.err
}

const testHost = "127.0.0.1:8088"

func get(t *testing.T, h http.Handler, host, target string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	return answer(h, r)
}

func answer(h http.Handler, r *http.Request) (*http.Response, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	return w.Result(), string(body)
}

// post sends a form as a browser does that has loaded the page.
func post(h http.Handler, path string, form url.Values, headers map[string]string) (*http.Response, string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Host = testHost
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://"+testHost)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for k, v := range headers {
		if r.Header.Del(k); v != "" {
			r.Header.Set(k, v)
		}
	}
	return answer(h, r)
}

func tokenOf(t *testing.T, h http.Handler) string {
	t.Helper()
	_, body := get(t, h, testHost, "/?queue=mail")
	m := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatal("the page has no form with a token")
	}
	return m[1]
}

func TestThePageShowsQueuesAndDeadJobs(t *testing.T) {
	t.Parallel()
	h := newPage(&fake{task: "email.receipt", text: "smtp: 550"}, "nats://host", false, []string{testHost})
	res, body := get(t, h, testHost, "/?queue=mail")
	for _, want := range []string{"nats://host", "mail", "email.receipt", "7f3a", "smtp: 550", "3 of 25", ">7<", ">?<", "read only", "after=cursor%261"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, not := range []string{"s3cr3t", "<form", "<script", "http-equiv"} {
		if strings.Contains(body, not) {
			t.Errorf("the page has %q", not)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); res.StatusCode != 200 || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("status %d, policy %q", res.StatusCode, csp)
	}
	if _, body := get(t, h, testHost, "/"); !strings.Contains(body, "http-equiv") || strings.Contains(body, "smtp") {
		t.Errorf("the overview is %s", body)
	}
	if res, css := get(t, h, testHost, "/page.css"); res.StatusCode != 200 || strings.Contains(css, "http") || strings.Contains(css, "@import") {
		t.Errorf("the style sheet is %d %.80s", res.StatusCode, css)
	}
}

func TestThePageEscapesWhatOthersWrote(t *testing.T) {
	t.Parallel()
	const attack = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	h := newPage(&fake{task: attack + "\x1b[2J\u202e", text: attack + "\x1b[2J\u202e"}, "nats://host", true, []string{testHost})
	_, body := get(t, h, testHost, "/?queue="+url.QueryEscape(attack))
	for _, not := range []string{"<script", "<img", "\x1b", "\u202e", "onerror=alert(1)>\""} {
		if strings.Contains(body, not) {
			t.Errorf("the page has %q", not)
		}
	}
	if !strings.Contains(body, "&lt;script&gt;alert(1)") {
		t.Error("the task is not shown")
	}
}

func TestAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	h := newPage(&fake{}, "nats://host", true, []string{testHost, "localhost:8088"})
	for _, host := range []string{"evil.example:8088", "evil.example", "127.0.0.1", "127.0.0.1:80", "", "127.0.0.1:8088.evil.example"} {
		res, body := get(t, h, host, "/")
		if res.StatusCode != http.StatusMisdirectedRequest || strings.Contains(body, "mail") {
			t.Errorf("host %q: %d %.80s", host, res.StatusCode, body)
		}
	}
	if res, _ := get(t, h, "localhost:8088", "/"); res.StatusCode != 200 {
		t.Errorf("localhost: %d", res.StatusCode)
	}
}

func TestOnlyThePagesOwnFormsAct(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h := newPage(f, "nats://host", true, []string{testHost})
	form := url.Values{"token": {tokenOf(t, h)}, "queue": {"mail"}, "id": {"7f3a"}}
	stale := url.Values{"token": {"of another process"}, "queue": {"mail"}, "id": {"7f3a"}}
	for name, bad := range map[string]struct {
		form    url.Values
		headers map[string]string
	}{
		"another origin":     {form, map[string]string{"Origin": "http://evil.example"}},
		"another port":       {form, map[string]string{"Origin": "http://127.0.0.1:9999"}},
		"the origin null":    {form, map[string]string{"Origin": "null"}},
		"no origin":          {form, map[string]string{"Origin": ""}},
		"a cross-site fetch": {form, map[string]string{"Sec-Fetch-Site": "cross-site"}},
		"an old token":       {stale, nil},
		"no token":           {url.Values{"queue": {"mail"}, "id": {"7f3a"}}, nil},
		"a text form":        {form, map[string]string{"Content-Type": "text/plain"}},
	} {
		for _, path := range []string{"/retry", "/discard"} {
			if res, _ := post(h, path, bad.form, bad.headers); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s: %d", path, name, res.StatusCode)
			}
		}
	}
	for _, path := range []string{"/retry", "/discard"} {
		if res, _ := get(t, h, testHost, path+"?"+form.Encode()); res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", path, res.StatusCode)
		}
	}
	if len(f.did) > 0 {
		t.Fatalf("it did %q", f.did)
	}
	for _, path := range []string{"/retry", "/discard"} {
		if res, _ := post(h, path, form, nil); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/?queue=mail" {
			t.Errorf("%s: %d to %q", path, res.StatusCode, res.Header.Get("Location"))
		}
	}
	if fmt.Sprint(f.did) != "[retry mail 7f3a discard mail 7f3a]" {
		t.Errorf("it did %q", f.did)
	}
}

func TestAPageThatOnlyReadsActsOnNothing(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h := newPage(f, "nats://host", false, []string{testHost})
	form := url.Values{"token": {h.(*page).token}, "queue": {"mail"}, "id": {"7f3a"}}
	for _, path := range []string{"/retry", "/discard"} {
		if res, _ := post(h, path, form, nil); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if len(f.did) > 0 {
		t.Errorf("it did %q", f.did)
	}
}

func TestThePageShowsErrors(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h := newPage(f, "nats://host", true, []string{testHost})
	form := url.Values{"token": {tokenOf(t, h)}, "queue": {"mail"}, "id": {"7f3a"}}
	for _, tc := range []struct {
		err  error
		want int
	}{
		{fmt.Errorf("airlock: x: <b>%w</b>", inspect.ErrRunning), http.StatusConflict},
		{fmt.Errorf("airlock: x: %w", inspect.ErrNotFound), http.StatusNotFound},
		{errors.New("dial redis://user:s3cr3t@host: refused"), http.StatusBadGateway},
		{fmt.Errorf("airlock: x: %w", core.ErrUnavailable), http.StatusBadGateway},
	} {
		f.err = tc.err
		res, body := post(h, "/retry", form, nil)
		if res.StatusCode != tc.want || !strings.Contains(body, `role="alert"`) || strings.Contains(body, "s3cr3t") || strings.Contains(body, "<b>") {
			t.Errorf("%v: %d %s", tc.err, res.StatusCode, body)
		}
		if res, _ := get(t, h, testHost, "/"); res.StatusCode != tc.want {
			t.Errorf("GET with %v: %d", tc.err, res.StatusCode)
		}
	}
}
