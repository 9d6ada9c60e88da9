package workexec

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/worker"
)

func TestWaitsEndOnFullSecondsAndNeverEarly(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_800_000_000, 0)
	for _, now := range []time.Time{base, base.Add(1), base.Add(300 * time.Millisecond), base.Add(999_999_999)} {
		for _, d := range []time.Duration{0, 1, time.Millisecond, time.Second, 1500 * time.Millisecond, longest} {
			f := later(&message{}, now, d)
			end := time.Unix(f.at, 0)
			if due := now.Add(d); end.Before(due) || end.Sub(due) >= time.Second {
				t.Errorf("%v after %v becomes %v", d, now, end)
			}
			if f.hold < milliseconds(d) || f.hold > milliseconds(d+time.Second+lockFor) {
				t.Errorf("a key is held for %d ms while its job waits %v", f.hold, d)
			}
		}
	}
}

func TestEachVerdictHasItsPlace(t *testing.T) {
	t.Parallel()
	w := &Worker{opts: WorkerOptions{ParkFor: time.Minute}}
	l := &list{queue: "default", prefix: "ns:", name: "n"}
	boom := errors.New("boom\xff from redis://:secret@host/0")
	now := time.Unix(1_800_000_000, 0)
	for what, tc := range map[string]struct {
		v     worker.Verdict
		to    destination
		wait  int64 // seconds
		fails int64
		held  bool // its unique key
	}{
		"done":        {worker.Verdict{Action: worker.Done}, nowhere, 0, 0, false},
		"retry":       {worker.Verdict{Action: worker.Retry, After: 3 * time.Second, Err: boom}, retries, 3, 2, true},
		"snoozed":     {worker.Verdict{Action: worker.Snoozed, After: 3 * time.Second, Err: boom}, retries, 3, 1, true},
		"parked":      {worker.Verdict{Action: worker.Parked, Err: boom}, retries, 60, 1, true},
		"interrupted": {worker.Verdict{Action: worker.Interrupted, Err: boom}, first, 0, 1, true},
		"dead":        {worker.Verdict{Action: worker.Dead, Err: boom}, dead, 0, 2, false},
	} {
		h, err := deliveryOf(l, `{"name":"n","id":"x","t":1,"args":{"a":9007199254740993},"fails":1}`)
		if err != nil {
			t.Fatal(err)
		}
		f := w.transitionOf(h, tc.v, now)
		if f.to != tc.to || f.to != nowhere && f.to != first && f.at-now.Unix() != tc.wait || (f.hold > 0) != tc.held {
			t.Errorf("%s: %+v", what, f)
		}
		if tc.to == nowhere {
			continue
		}
		var m message
		if err := json.Unmarshal(f.text, &m); err != nil || m.Fails != tc.fails || string(m.Args) != `{"a":9007199254740993}` {
			t.Errorf("%s: %s", what, f.text)
		}
		if strings.Contains(m.Err, "secret") || strings.Contains(m.Err, "\xff") {
			t.Errorf("%s: error %q", what, m.Err)
		}
	}
}

func TestTheLibrarysScheduleEndsSomewhere(t *testing.T) {
	t.Parallel()
	for _, fails := range []int64{1, 4, 25, 1000, maxAttempts} {
		got, n := librarysBackoff(fails), min(fails, 230)
		least := time.Duration(n*n*n*n+15) * time.Second
		if got < least || got > least+time.Duration(30*(n+1))*time.Second {
			t.Errorf("after %d failures: %v", fails, got)
		}
	}
}

func TestADeadRecordIsAJobThatTheLibraryCanShow(t *testing.T) {
	t.Parallel()
	var job work.Job
	if err := json.Unmarshal(deadRecord("n", "{no job\xff", errNoJob), &job); err != nil || job.Name != "n" || job.ID == "" || job.LastErr == "" {
		t.Fatalf("%+v, %v", job, err)
	}
	if got, err := Payload(&job); err != nil || string(got) != "{no job\xff" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSuccessesAreRememberedWithinABound(t *testing.T) {
	t.Parallel()
	r := remembered{jobs: map[rememberedKey]struct{}{}}
	l := &list{}
	job := func(n int) *held { return &held{list: l, message: message{ID: "x", T: int64(n)}} }
	for n := range mostRemembered + 10 {
		r.add(job(n))
		r.add(job(n))
	}
	if len(r.jobs) != mostRemembered || len(r.old) != mostRemembered || r.has(job(9)) || !r.has(job(10)) || !r.has(job(mostRemembered+9)) {
		t.Errorf("%d and %d are remembered", len(r.jobs), len(r.old))
	}
}
