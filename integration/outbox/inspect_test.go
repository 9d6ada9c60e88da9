package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

func (w *world) inspector(t testing.TB, box *outbox.Box) *outbox.Inspector {
	t.Helper()
	view, err := outbox.NewInspector(box, outbox.SQL(w.db))
	must(t, err)
	return view
}

func depth(t testing.TB, view inspect.Viewer, queue string) string {
	t.Helper()
	d, err := view.Depth(t.Context(), queue)
	must(t, err)
	return fmt.Sprintf("waiting %v, delayed %v, running %v, dead %v, parked %v", d.Waiting, d.Delayed, d.Running, d.Dead, d.Parked)
}

func list(t testing.TB, view inspect.Viewer, queue string, state inspect.State) (ids []string) {
	t.Helper()
	for job, err := range inspect.All(t.Context(), view, inspect.Query{Queue: queue, State: state, Limit: 2}) {
		must(t, err)
		ids = append(ids, job.ID)
	}
	return ids
}

var (
	_ = add("inspect: each state is counted, listed, retried and discarded", func(t *testing.T, w *world) {
		for _, isOrdered := range []bool{false, true} {
			q := newQueue(refuseDelay)
			table := fmt.Sprintf("inspect_%v", isOrdered)
			box := w.box(t, q, func(o *outbox.Options) { o.Table, o.Ordered = table, isOrdered })
			other := w.box(t, q, func(o *outbox.Options) { o.Table, o.Destination = table, "other" })
			view := w.inspector(t, box)
			names := []string{"waiting", "backoff", "later", "running", "refused", "ambiguous", "garbage", "newer"}
			for _, name := range names {
				opts := []core.Option{core.ID(name), core.Queue("mail"), core.Header("Trace", "secret"), core.Unique("u-" + name), core.MaxAttempts(3)}
				if name == "later" {
					opts = append(opts, core.Delay(time.Hour))
				}
				w.store(t, box, intent(t, "payload of "+name, opts...))
			}
			w.store(t, other, intent(t, "x", core.ID("elsewhere"), core.Queue("mail")))
			w.store(t, box, intent(t, "x", core.ID("a"))) // the default queue
			set := func(name, what string) { w.exec(t, "UPDATE "+table+" SET "+what+" WHERE id = '"+name+"'") }
			set("backoff", "due = due + 3600000000, attempts = 2")
			set("refused", "due = NULL, state = 1, reason = 'no such thing', attempts = 1")
			set("ambiguous", "due = NULL, state = 2, reason = 'may have been sent', attempts = 4, first_sent = 1")
			set("garbage", "due = NULL, state = 1, intent = 'garbage'")
			set("newer", "due = due + 3600000000, intent = '"+strings.Replace(w.text(t, "SELECT intent FROM "+table+" WHERE id = 'newer'"), `"v":1`, `"v":2`, 1)+"'")
			if isOrdered {
				w.exec(t, "UPDATE "+table+"_meta SET token = 'held', until = 9000000000000000 WHERE part = 1")
				set("running", "token = 'held'")
			} else {
				set("running", "token = 'held', due = 9000000000000000")
			}
			queues, err := view.Queues(t.Context())
			if must(t, err); !slices.Equal(queues, []string{"default", "mail"}) {
				t.Errorf("queues %v", queues)
			}
			if got := depth(t, view, "mail"); got != "waiting 1, delayed 3, running 1, dead 3, parked unknown" {
				t.Errorf("depth: %s", got)
			}
			if got := depth(t, view, ""); got != "waiting 1, delayed 0, running 0, dead 0, parked unknown" {
				t.Errorf("depth of the default queue: %s", got)
			}
			for state, want := range map[inspect.State][]string{
				inspect.Waiting: {"waiting"}, inspect.Delayed: {"backoff", "later", "newer"}, inspect.Running: {"running"}, inspect.Dead: {"refused", "ambiguous", "garbage"},
			} {
				if got := list(t, view, "mail", state); !slices.Equal(got, want) {
					t.Errorf("%s: %v, want %v", state, got, want)
				}
			}
			job, err := view.Get(t.Context(), "mail", "refused")
			must(t, err)
			if job.Task != task.Name() || job.Queue != "mail" || job.State != inspect.Dead || job.Attempts != 1 || job.Error != "no such thing" || job.Enqueued.IsZero() ||
				job.Unique != "u-refused" || job.Headers.Get("Trace") != "secret" || string(job.Payload()) != `"payload of refused"` {
				t.Errorf("job %+v", job)
			}
			if data, err := json.Marshal(job); err != nil || strings.Contains(string(data), "secret") || strings.Contains(string(data), "payload") {
				t.Errorf("encoded: %s, %v", data, err)
			}
			if job, err := view.Get(t.Context(), "mail", "ambiguous"); err != nil || job.Error != "ambiguous: may have been sent" {
				t.Errorf("job %+v, %v", job, err)
			}
			for _, name := range []string{"garbage", "newer"} {
				if job, err := view.Get(t.Context(), "mail", name); err != nil || job.Unreadable == "" || len(job.Payload()) == 0 {
					t.Errorf("%s: %+v, %v", name, job, err)
				}
			}
			// What cannot be done.
			for what, err := range map[error]error{
				inspect.ErrRunning:    view.Retry(t.Context(), "mail", "running"),
				inspect.ErrUnreadable: view.Retry(t.Context(), "mail", "garbage"),
				inspect.ErrNotFound:   view.Retry(t.Context(), "mail", "elsewhere"),
				core.ErrUnsupported:   view.Pause(t.Context(), "mail"),
				context.Canceled: func() error {
					ctx, end := context.WithCancel(t.Context())
					end()
					return view.Discard(ctx, "mail", "waiting")
				}(),
				core.ErrInvalid: func() error {
					_, err := view.List(t.Context(), inspect.Query{State: inspect.Dead, Cursor: "x"})
					return err
				}(),
			} {
				if !errors.Is(err, what) {
					t.Errorf("%v, want %v", err, what)
				}
			}
			if err := view.Discard(t.Context(), "mail", "running"); !errors.Is(err, inspect.ErrRunning) {
				t.Errorf("discard a running one: %v", err)
			}
			if _, err := view.Depth(t.Context(), "nowhere"); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("an unknown queue: %v", err)
			}
			if _, err := view.List(t.Context(), inspect.Query{Queue: "nowhere", State: inspect.Dead}); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("an unknown queue: %v", err)
			}
			// What can.
			result, err := view.RetryAll(t.Context(), inspect.Selection{Queue: "mail", Limit: 10})
			if must(t, err); result != (inspect.Result{Retried: 1, Skipped: 2}) {
				t.Errorf("RetryAll: %+v", result)
			}
			must(t, view.Retry(t.Context(), "mail", "ambiguous"))
			must(t, view.Retry(t.Context(), "mail", "backoff"))
			must(t, view.Retry(t.Context(), "mail", "later"))
			must(t, view.Retry(t.Context(), "mail", "waiting")) // changes nothing
			must(t, view.Discard(t.Context(), "mail", "garbage"))
			must(t, view.Discard(t.Context(), "mail", "newer"))
			if got := depth(t, view, "mail"); got != "waiting 5, delayed 0, running 1, dead 0, parked unknown" {
				t.Errorf("depth at the end: %s", got)
			}
			w.exec(t, "UPDATE "+table+"_meta SET token = '', until = 0 WHERE part >= 0")
			set("running", "token = '', due = not_before")
			w.relay(t, box, q)
			q.await(t, 7)
			w.awaitStats(t, box, outbox.Stats{})
		}
	})
	_ = add("inspect: many dead rows are retried, whatever is done to them meanwhile", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		view := w.inspector(t, box)
		const n = 1200
		w.store(t, box, intents(t, n)...)
		w.exec(t, "UPDATE airlock_outbox SET due = NULL, state = 1, reason = 'refused'")
		q.setFail(func(_ int, in []core.Intent) error {
			return core.Combine(core.Outcomes(in, core.Rejected, core.ErrTooLarge))
		})
		stop := w.relay(t, box, q) // they die again, while they are retried
		total, calls := 0, 0
		for total < n {
			r, err := view.RetryAll(t.Context(), inspect.Selection{Limit: 700})
			must(t, err)
			total += r.Retried
			if calls++; calls > 10 {
				t.Fatalf("%d retried in %d calls", total, calls)
			}
		}
		w.awaitStats(t, box, outbox.Stats{Dead: n})
		stop()
		one, err := view.List(t.Context(), inspect.Query{State: inspect.Dead, Limit: 1})
		must(t, err)
		must(t, view.Discard(t.Context(), "", one.Jobs[0].ID))
		w.awaitStats(t, box, outbox.Stats{Dead: n - 1})
	})
	_ = add("inspect: the same ID twice", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		view := w.inspector(t, box)
		in := intent(t, "a", core.ID("same"))
		w.store(t, box, in, in)
		w.exec(t, "UPDATE airlock_outbox SET due = NULL, state = 1")
		must(t, view.Retry(t.Context(), "", "same"))
		w.awaitStats(t, box, outbox.Stats{Waiting: 2})
		must(t, view.Discard(t.Context(), "", "same"))
		w.awaitStats(t, box, outbox.Stats{})
	})
)

var _ = add("the destinations of a table are found by any of its boxes", func(t *testing.T, w *world) {
	in := func(destination string) *outbox.Box {
		return w.box(t, newQueue(), func(o *outbox.Options) { o.Table, o.Destination = "Mixed_Case", destination })
	}
	wants := func(want ...string) {
		t.Helper()
		got, err := in("third").Destinations(t.Context(), outbox.SQL(w.db))
		if must(t, err); !slices.Equal(got, want) {
			t.Errorf("destinations %q, want %q", got, want)
		}
	}
	wants()
	for _, destination := range []string{"b", "a", "b"} {
		w.store(t, in(destination), intent(t, ""))
	}
	wants("a", "b")
	box, err := outbox.New(w.dialect, &outbox.Options{For: newQueue().exec(), Table: "no_table"})
	must(t, err)
	if got, err := box.Destinations(t.Context(), outbox.SQL(w.db)); err == nil || len(got) > 0 {
		t.Errorf("without a table: %q, %v", got, err)
	}
})
