package inspect

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

const (
	DefaultLimit = 100  // of a Query without a Limit
	MaxLimit     = 1000 // of a Query
)

// Query selects jobs of one queue in one state.
type Query struct {
	Queue  string // "" is the default queue
	State  State  // must be set
	Task   string // "" is every task
	Limit  int    // of a page; 0 is DefaultLimit, and more than MaxLimit counts as MaxLimit
	Cursor string // Page.Next of the page before; "" is the first page
}

// Page is a part of the jobs that a Query selects. With a Query.Task it may have fewer
// jobs than the limit, or none, although there are more pages.
type Page struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty"` // the cursor of the next page; "" if this is the last one
}

// Checked returns the query with its defaults, for authors of inspectors. A negative
// limit and an unknown state are core.ErrInvalid.
func (q Query) Checked() (Query, error) {
	switch {
	case !slices.Contains(States(), q.State):
		return q, fmt.Errorf("airlock: inspect: Query.State: %q, want one of %v: %w", q.State, States(), core.ErrInvalid)
	case q.Limit < 0:
		return q, fmt.Errorf("airlock: inspect: Query.Limit: %d, want 0 or more: %w", q.Limit, core.ErrInvalid)
	case q.Limit == 0:
		q.Limit = DefaultLimit
	}
	q.Limit = min(q.Limit, MaxLimit)
	return q, nil
}

// Selection selects dead jobs of one queue.
type Selection struct {
	Queue string // "" is the default queue
	Task  string // "" is every task
	Limit int    // how many to retry, at most; must be more than 0
}

// Check returns core.ErrInvalid for a limit of 0 or less, for authors of inspectors.
func (s Selection) Check() error {
	if s.Limit <= 0 {
		return fmt.Errorf("airlock: inspect: Selection.Limit: %d, want more than 0: %w", s.Limit, core.ErrInvalid)
	}
	return nil
}

// RetryEach is RetryAll for authors of inspectors. It calls retry for the selected
// ones of the dead jobs, until the limit is reached, there are no more, or there is an
// error that is not of one job alone. A job that failed after the call began, since it
// has died again, is left out.
func RetryEach(s Selection, dead iter.Seq2[Job, error], retry func(Job) error) (Result, error) {
	var r Result
	if err := s.Check(); err != nil {
		return r, err
	}
	began := time.Now()
	skipped := map[string]bool{} // a job may come twice
	for job, err := range dead {
		switch {
		case err != nil:
			return r, err
		case s.Task != "" && job.Task != s.Task, job.FailedAt.After(began), skipped[job.ID]:
			continue
		}
		switch err := retry(job); {
		case err == nil:
			r.Retried++
		case isSkipped(err):
			skipped[job.ID] = true
			r.Skipped++
		default:
			return r, err
		}
		if r.Retried == s.Limit {
			return r, nil
		}
	}
	return r, nil
}

// isSkipped reports whether the error of a retry is one of that job alone.
func isSkipped(err error) bool {
	for _, target := range []error{ErrNotFound, ErrRunning, ErrDone, ErrUnreadable, core.ErrDuplicate, core.ErrUnsupported} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// Result is what RetryAll has done.
type Result struct {
	Retried int `json:"retried"`
	// Skipped are jobs that were left as they are: their unique key is held by another
	// job, they cannot be read, or they changed meanwhile.
	Skipped int `json:"skipped"`
}
