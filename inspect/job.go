package inspect

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/core"
)

// State is the state of a job. Every queue has some of them.
type State string

const (
	Waiting State = "waiting" // could run now
	Delayed State = "delayed" // not due: its producer delayed it, or it waits between two attempts
	Running State = "running" // a worker has it
	Dead    State = "dead"    // failed for good, and kept for an operator
	// Parked: no worker knows the task, or the envelope is of a later version. On
	// most queues such a job looks like one that is waiting or delayed. Then the
	// number of parked jobs is unknown, and they are counted and listed there.
	Parked State = "parked"
	// Done: it succeeded. Queues that keep such jobs keep them for a while only.
	Done State = "done"
)

// States returns all states.
func States() []State { return []State{Waiting, Delayed, Running, Dead, Parked, Done} }

// Job is a job as it is stored. Printed or logged it shows task, ID, queue and state.
// Encoded as JSON it also has everything else but payload and headers.
type Job struct {
	ID    string `json:"id"`
	Task  string `json:"task"`
	Queue string `json:"queue"`
	State State  `json:"state"`

	// Attempts are the runs that the queue has counted since the job was stored or
	// last retried. A run that goes on is one of them.
	Attempts    int `json:"attempts"`
	MaxAttempts int `json:"max_attempts,omitempty"` // 0 if unknown

	Error    string       `json:"error,omitempty"`    // of the last attempt; "" if there is none
	Enqueued time.Time    `json:"enqueued,omitzero"`  // zero if unknown
	Due      time.Time    `json:"due,omitzero"`       // of a delayed job; zero if unknown
	FailedAt time.Time    `json:"failed_at,omitzero"` // when the last attempt failed; zero if unknown
	Deadline time.Time    `json:"deadline,omitzero"`  // zero if there is none
	Native   bool         `json:"native,omitempty"`   // no airlock executor stored it
	Unique   string       `json:"unique,omitempty"`   // its core.Unique key, where the queue stores it
	Headers  core.Headers `json:"-"`

	// Unreadable says why the stored message is no job, or why its envelope cannot be
	// read. "" if all is well. The other fields have what could be read.
	Unreadable string `json:"unreadable,omitempty"`

	payload []byte
}

// Payload returns the encoded arguments. The caller must not change them. Of a job
// that is no job at all, they are the whole message, or nil.
func (j Job) Payload() []byte { return j.payload }

// WithPayload returns the job with this payload, for authors of inspectors.
func (j Job) WithPayload(payload []byte) Job {
	j.payload = payload
	return j
}

// String returns the job's task, ID, queue and state.
func (j Job) String() string {
	return fmt.Sprintf("%s %s (queue %s, %s)", j.Task, j.ID, j.Queue, j.State)
}

// Format prints the same as String for every verb, so that no verb can print the
// payload.
func (j Job) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, j.String()) }

// LogValue logs task, ID, queue and state.
func (j Job) LogValue() slog.Value {
	return slog.GroupValue(slog.String("task", j.Task), slog.String("id", j.ID),
		slog.String("queue", j.Queue), slog.String("state", string(j.State)))
}

// Depth is how many jobs a queue has.
type Depth struct {
	Queue   string `json:"queue"`
	Waiting Count  `json:"waiting"`
	Delayed Count  `json:"delayed"`
	Running Count  `json:"running"`
	Dead    Count  `json:"dead"`
	Parked  Count  `json:"parked"`

	// Oldest is how long the oldest waiting job has been waiting. It is 0 if none
	// waits. On a queue that only knows when the job was enqueued, it is the time
	// since then.
	Oldest Age `json:"oldest_seconds"`

	Paused bool `json:"paused"` // see Controller.Pause
}

// Count is a number of jobs. The zero value is unknown.
type Count struct {
	n     int64
	known bool
}

// CountOf returns a known count.
func CountOf(n int64) Count { return Count{n, true} }

// Known returns the number, and false if it is unknown.
func (c Count) Known() (n int64, ok bool) { return c.n, c.known }

// String returns the number or "unknown".
func (c Count) String() string {
	if !c.known {
		return unknown
	}
	return fmt.Sprint(c.n)
}

// MarshalJSON returns the number or null.
func (c Count) MarshalJSON() ([]byte, error) {
	if !c.known {
		return []byte("null"), nil
	}
	return fmt.Append(nil, c.n), nil
}

// Age is how long something has been going on. The zero value is unknown.
type Age struct {
	d     time.Duration
	known bool
}

// AgeOf returns a known age. Less than 0, as of clocks that differ, counts as 0.
func AgeOf(d time.Duration) Age { return Age{max(d, 0), true} }

// Known returns the duration, and false if it is unknown.
func (a Age) Known() (d time.Duration, ok bool) { return a.d, a.known }

// String returns the duration or "unknown".
func (a Age) String() string {
	if !a.known {
		return unknown
	}
	return a.d.String()
}

// MarshalJSON returns the seconds or null.
func (a Age) MarshalJSON() ([]byte, error) {
	if !a.known {
		return []byte("null"), nil
	}
	return fmt.Append(nil, a.d.Seconds()), nil
}

const unknown = "unknown"
