package inspect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

func TestUnknownIsNotZero(t *testing.T) {
	t.Parallel()
	var d inspect.Depth
	d.Dead, d.Oldest = inspect.CountOf(0), inspect.AgeOf(-time.Second)
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"queue":"","waiting":null,"delayed":null,"running":null,"dead":0,"parked":null,"oldest_seconds":0,"paused":false}`
	if string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
	if d.Waiting.String() != "unknown" || d.Dead.String() != "0" || (inspect.Age{}).String() != "unknown" || inspect.AgeOf(time.Minute).String() != "1m0s" {
		t.Errorf("%s %s %s", d.Waiting, d.Dead, inspect.Age{})
	}
	if _, known := d.Waiting.Known(); known {
		t.Error("the zero Count is known")
	}
}

func TestRetryEachCountsAndStops(t *testing.T) {
	t.Parallel()
	broken := errors.New("the backend is away")
	jobs := func(more ...inspect.Job) iter.Seq2[inspect.Job, error] {
		return func(yield func(inspect.Job, error) bool) {
			for _, j := range more {
				if !yield(j, nil) {
					return
				}
			}
		}
	}
	a, b, c := inspect.Job{ID: "a", Task: "t.one"}, inspect.Job{ID: "b", Task: "t.two"}, inspect.Job{ID: "c", Task: "t.one"}
	again := inspect.Job{ID: "d", Task: "t.one", FailedAt: time.Now().Add(time.Hour)}
	for name, tc := range map[string]struct {
		s    inspect.Selection
		errs map[string]error
		want inspect.Result
		err  error
		seen []string
	}{
		"all":               {inspect.Selection{Limit: 9}, nil, inspect.Result{Retried: 3}, nil, []string{"a", "b", "c"}},
		"of one task":       {inspect.Selection{Limit: 9, Task: "t.one"}, nil, inspect.Result{Retried: 2}, nil, []string{"a", "c"}},
		"a limit":           {inspect.Selection{Limit: 2}, nil, inspect.Result{Retried: 2}, nil, []string{"a", "b"}},
		"no limit":          {inspect.Selection{}, nil, inspect.Result{}, core.ErrInvalid, nil},
		"one that is held":  {inspect.Selection{Limit: 9}, map[string]error{"a": fmt.Errorf("x: %w", core.ErrDuplicate)}, inspect.Result{Retried: 2, Skipped: 1}, nil, []string{"a", "b", "c"}},
		"an error of other": {inspect.Selection{Limit: 9}, map[string]error{"b": broken}, inspect.Result{Retried: 1}, broken, []string{"a", "b"}},
	} {
		var seen []string
		got, err := inspect.RetryEach(tc.s, jobs(a, b, c, a, again), func(j inspect.Job) error {
			if j.ID == "a" && slices.Contains(seen, "a") && tc.errs["a"] == nil {
				return inspect.ErrNotFound // it was retried
			}
			seen = append(seen, j.ID)
			return tc.errs[j.ID]
		})
		if name == "all" || name == "of one task" {
			tc.want.Skipped = 1 // the second a
		}
		if got != tc.want || !errors.Is(err, tc.err) || !slices.Equal(seen, tc.seen) {
			t.Errorf("%s: %+v, %v, tried %q; want %+v, %v, %q", name, got, err, seen, tc.want, tc.err, tc.seen)
		}
	}
}

func TestErrorsOfWhatIsUnsupportedHaveAReason(t *testing.T) {
	t.Parallel()
	err := error(&inspect.UnsupportedError{Executor: "pool", Action: "pause", Reason: "it never rests"})
	if !errors.Is(err, core.ErrUnsupported) || err.Error() != "airlock: pool: cannot pause: it never rests" {
		t.Errorf("%v", err)
	}
}

func TestAJobIsPrintedWithoutPayloadAndHeaders(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	job := inspect.Job{ID: "7f3a", Task: "t.one", Queue: "mail", State: inspect.Dead, Headers: core.NewHeaders(map[string]string{"K": secret})}
	job = job.WithPayload([]byte(secret))
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("job", "job", job)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("job", "job", job)
	encoded, err := json.Marshal(inspect.Page{Jobs: []inspect.Job{job}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %d %q", job, job, job, job, job, job), fmt.Sprintf("%+v", inspect.Page{Jobs: []inspect.Job{job}}), log.String(), string(encoded)} {
		if strings.Contains(text, secret) || !strings.Contains(text, job.ID) {
			t.Errorf("a job prints as %s", text)
		}
	}
	if string(job.Payload()) != secret || job.Headers.Get("K") != secret {
		t.Errorf("the payload is %q, the header %q", job.Payload(), job.Headers.Get("K"))
	}
}
