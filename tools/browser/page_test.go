package browser_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

const (
	patience = time.Minute
	attack   = `<script>document.title="attacked"</script><img src=x onerror='document.title="attacked"'>`
	rebound  = "rebound.test" // a name of somebody else that resolves to this machine
	allDead  = "first dead, second dead, third dead"
)

var jobs = []string{"first", "second", "third"}

// The page lists queues and dead jobs, and its two buttons do what they say.
func TestThePageInABrowser(t *testing.T) {
	s := serve(t, "-write")
	tab := open(t)
	tab.do(
		chromedp.Navigate(s.url),
		chromedp.WaitVisible(`//td[@class="dead" and text()="3"]`),
		chromedp.Click(`//a[text()="mail"]`),
		chromedp.WaitVisible(`//h2[text()="Dead jobs of mail"]`),
	)
	tab.want("the style sheet is in use", `getComputedStyle(document.querySelector("table")).borderCollapse === "collapse"`)
	tab.want("three jobs are dead", `document.querySelectorAll("td.why").length === 3`)
	tab.want("an error is text", `document.querySelector("td.why").textContent.includes("<script>")`)
	tab.want("there is no script and no picture", `document.querySelectorAll("script, img").length === 0`)

	press := func(job, button string) {
		row := fmt.Sprintf(`//td[@class="id" and text()=%q]/..`, job)
		tab.do(
			chromedp.Click(row+fmt.Sprintf(`//button[text()=%q]`, button)),
			chromedp.WaitNotPresent(row),
		)
	}
	press("first", "Retry")
	press("second", "Discard")
	tab.want("one job is left", `document.querySelectorAll("td.why").length === 1`)
	tab.want("the title is the page's own", `document.title.startsWith("airlock: ")`)
	if got, want := s.states(), "first waiting, third dead"; got != want {
		t.Errorf("the outbox has: %s; want %s", got, want)
	}
	tab.wantQuiet(s.url)
}

// Another site cannot press a button, not even with a token that it has read, shows the page in no frame, and reads nothing
// through a name of its own that leads here.
func TestAnotherSiteCanDoNothing(t *testing.T) {
	s := serve(t, "-write")
	tab := open(t)
	tab.do(chromedp.Navigate(s.url + "/?queue=mail"))
	token := eval[string](tab, `document.querySelector("input[name=token]").value`)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/frame" {
			fmt.Fprintf(w, `<iframe src="%s/?queue=mail"></iframe>`, s.url)
			return
		}
		fmt.Fprintf(w, `<form method="post" action="%s/discard"><input name="token" value="%s"><input name="queue" value="mail"><input name="id" value="first"><button>Win a prize</button></form>`,
			s.url, html.EscapeString(token))
	}))
	t.Cleanup(other.Close)
	tab.do(
		chromedp.Navigate(other.URL),
		chromedp.Click(`//button`),
		chromedp.WaitVisible(`//*[contains(text(), "the form is not of this page")]`),
		chromedp.Navigate(other.URL+"/frame"),
	)
	if !tab.sawConsole("frame-ancestors") {
		t.Error("the browser shows the page in a frame of another site")
	}
	tab.do(
		chromedp.Navigate(strings.Replace(s.url, "127.0.0.1", rebound, 1)),
		chromedp.WaitVisible(`//*[contains(text(), "airlock does not serve this host")]`),
	)
	if got := s.states(); got != allDead {
		t.Errorf("the outbox has: %s", got)
	}
}

func TestAPageWithoutWriteHasNoButtons(t *testing.T) {
	s := serve(t)
	tab := open(t)
	tab.do(
		chromedp.Navigate(s.url+"/?queue=mail"),
		chromedp.WaitVisible(`//span[text()="read only"]`),
	)
	tab.want("the jobs are shown", `document.querySelectorAll("td.why").length === 3`)
	tab.want("there are no forms", `document.querySelectorAll("form, button").length === 0`)
	tab.wantQuiet(s.url)
}

// served is airlock serve on an outbox whose jobs are dead.
type served struct {
	*testing.T
	url  string
	view inspect.Inspector
}

func serve(t *testing.T, flags ...string) *served {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s := &served{T: t}
	s.bury(outbox.SQL(db))

	airlock := filepath.Join(t.TempDir(), "airlock")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", "..", "cmd", "airlock"), "-o", airlock, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), airlock, append([]string{"serve", "-queue", "outbox+sqlite://" + path, "-addr", "127.0.0.1:0"}, flags...)...)
	lines, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(lines).ReadString('\n')
	must(t, err)
	address, _, _ := strings.Cut(line, " ")
	if _, err := url.Parse(address); err != nil {
		t.Fatalf("the command says %q", line)
	}
	s.url = address
	return s
}

// bury stores jobs, and lets a relay find out that their queue refuses them.
func (s *served) bury(db outbox.DB) {
	s.Helper()
	refuse := func(_ context.Context, intents ...core.Intent) error {
		return core.Combine(core.Outcomes(intents, core.Rejected, fmt.Errorf("no such mailbox: %s", attack)))
	}
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: refuse, Destination: "mail"})
	must(s.T, err)
	must(s.T, box.CreateTable(s.Context(), db))
	s.view, err = outbox.NewInspector(box, db)
	must(s.T, err)
	receipt := core.DeclareTask[string]("email.receipt")
	for _, id := range jobs {
		in, err := receipt.Intent("payload", core.ID(id), core.Queue("mail"))
		must(s.T, err)
		must(s.T, box.InTx(db)(s.Context(), in))
	}
	relay, err := outbox.NewRelay(box, db, refuse, nil)
	must(s.T, err)
	ctx, stop := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()
	for end := time.Now().Add(patience); s.states() != allDead; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("the outbox has: %s", s.states())
		}
	}
	stop()
	must(s.T, <-ended)
}

// states is what became of the jobs.
func (s *served) states() string {
	s.Helper()
	var all []string
	for _, id := range jobs {
		job, err := s.view.Get(s.Context(), "mail", id)
		if errors.Is(err, inspect.ErrNotFound) {
			continue
		}
		must(s.T, err)
		all = append(all, id+" "+string(job.State))
	}
	return strings.Join(all, ", ")
}

// tab is a browser of its own.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	requests []string // guarded by mu
	console  []string // guarded by mu; what the browser complains about
}

func open(t *testing.T) *tab {
	t.Helper()
	path := os.Getenv("AIRLOCK_CHROMIUM")
	if path == "" {
		path = "chromium"
	}
	ctx, cancel := chromedp.NewContext(t.Context(), chromedp.WithAllocatorOptions(append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP "+rebound+" 127.0.0.1"))...))
	t.Cleanup(cancel)
	b := &tab{T: t, ctx: ctx}
	must(t, chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, e.Request.URL)
		case *log.EventEntryAdded:
			b.console = append(b.console, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			b.console = append(b.console, e.ExceptionDetails.Text)
		}
	}))
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	must(b.T, chromedp.Do(ctx, steps...))
}

// eval returns what an expression is on the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	must(b.T, err)
	return v
}

func (b *tab) want(what, condition string) {
	b.Helper()
	if !eval[bool](b, condition) {
		b.Errorf("not so: %s", what)
	}
}

// wantQuiet checks that the page asked no other host for anything, and that the browser had nothing to complain about.
func (b *tab) wantQuiet(from string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		b.Error("no request was seen")
	}
	for _, r := range b.requests {
		if !strings.HasPrefix(r, from) {
			b.Errorf("the page asked for %s", r)
		}
	}
	for _, line := range b.console {
		b.Errorf("the browser says: %s", line)
	}
}

func (b *tab) sawConsole(text string) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		b.mu.Lock()
		seen := strings.Contains(strings.Join(b.console, "\n"), text)
		b.mu.Unlock()
		if seen {
			return true
		}
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
