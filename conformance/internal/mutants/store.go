package mutants

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// job is an intent as it is stored.
type job struct {
	in      core.Intent
	payload []byte
	headers core.Headers
	queue   string
	rank    int // priority; higher first
	seq     int // order of dispatch
	at      time.Time
	attempt int // of its next or present run, from 1
	state   conformance.RecordState
	poison  bool // its message cannot be understood
	native  bool // its message has no envelope
	later   bool // its envelope is of a later version
	holder  *brokenWorker
	since   time.Time // since when it waits
	parked  bool      // no handler knew its task
	snoozed int       // times; for mutants
	err     string    // of its last attempt
	failed  time.Time // when it failed
}

// store is what a broker would be: the jobs of one namespace, which outlive
// executors and workers.
type store struct {
	bug *bug

	mu      sync.Mutex
	wake    chan struct{} // closed and replaced when a worker may find something to do
	ready   []*job        // by rank, then seq
	later   []*job        // by time
	all     []*job
	ids     map[string]time.Time // until when an ID is remembered
	unique  map[string]*job
	nextSeq int
	paused  map[string]bool // by queue

	contexts map[string]context.Context // of producers, for a mutant
}

func newStore(b *bug) *store {
	return &store{bug: b, wake: make(chan struct{}), ids: map[string]time.Time{}, unique: map[string]*job{}, contexts: map[string]context.Context{}, paused: map[string]bool{}}
}

const idWindow = 20 * time.Minute

// add stores one intent. The lock is held.
func (s *store) add(in core.Intent, now time.Time) core.Outcome {
	return s.addTo(in.Options.Queue, in, now)
}

// addTo is add for a native queue.
func (s *store) addTo(queue string, in core.Intent, now time.Time) core.Outcome {
	out := core.Outcome{ID: in.ID, State: core.Accepted}
	if until, seen := s.ids[s.bug.idKey(in)]; seen && (s.bug.endlessIDs || now.Before(until)) {
		if in.ChosenID() || in.Options.Unique != "" {
			out.State, out.Err = core.Duplicate, core.ErrDuplicate
		}
		return out
	}
	key := s.bug.uniqueKey(in)
	if key != "" && s.unique[key] != nil {
		out.State, out.Err = core.Duplicate, core.ErrDuplicate
		return out
	}
	s.nextSeq++
	j := &job{
		in: in, payload: in.Payload(), headers: in.Headers(), queue: queue, rank: in.Options.Priority,
		seq: s.nextSeq, at: in.Options.At, attempt: 1, state: conformance.Waiting,
	}
	if j.rank == 0 {
		j.rank = 5
	}
	if s.bug.admit != nil && !s.bug.admit(s, j) {
		return out
	}
	s.remember(in, now)
	if s.bug.stored {
		s.ids[s.bug.idKey(in)] = now.Add(never)
	}
	if key != "" {
		s.unique[key] = j
	}
	s.all = append(s.all, j)
	s.put(j, now)
	return out
}

// remember keeps an ID for the window that begins now. The lock is held.
func (s *store) remember(in core.Intent, now time.Time) {
	d := idWindow
	if s.bug.window != nil {
		d = s.bug.window(in, d)
	}
	s.ids[s.bug.idKey(in)] = now.Add(d)
}

const never = 100 * 365 * 24 * time.Hour

func (s *store) addAll(intents []core.Intent) error {
	return s.addNamed(intents, adapter.QueueNames{})
}

// addNamed is addAll for native queues.
func (s *store) addNamed(intents []core.Intent, names adapter.QueueNames) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := make([]core.Outcome, len(intents))
	for i := range intents {
		out[i] = s.addTo(s.bug.storedQueue(names, intents[i].Options.Queue), intents[i], now)
	}
	return core.Combine(out)
}

// storedQueue is the name that a queue is stored under. "" is the default queue,
// unless it has another name.
func (b *bug) storedQueue(names adapter.QueueNames, portable string) string {
	if native := names.Native(portable); native != adapter.DefaultQueue && b.queueName != nil {
		return b.queueName(native)
	} else if native != adapter.DefaultQueue {
		return native
	}
	return ""
}

// put makes a job wait. The lock is held.
func (s *store) put(j *job, now time.Time) {
	j.state, j.holder, j.since = conformance.Waiting, nil, now
	if j.at.After(now) {
		i, _ := slices.BinarySearchFunc(s.later, j, func(a, b *job) int { return a.at.Compare(b.at) })
		s.later = slices.Insert(s.later, i, j)
	} else {
		i, _ := slices.BinarySearchFunc(s.ready, j, func(a, b *job) int {
			if s.bug.order != nil {
				return s.bug.order(a, b)
			}
			return byRank(a, b)
		})
		s.ready = slices.Insert(s.ready, i, j)
	}
	s.stir()
}

// stir wakes the workers. The lock is held.
func (s *store) stir() {
	close(s.wake)
	s.wake = make(chan struct{})
}

func byRank(a, b *job) int {
	if a.rank != b.rank {
		return b.rank - a.rank
	}
	return a.seq - b.seq
}

// take returns a job of one of the queues, or when to look again. The lock is
// held.
func (s *store) take(queues []string, now time.Time) (*job, time.Time) {
	for len(s.later) > 0 && !s.later[0].at.After(now) {
		j := s.later[0]
		s.later = s.later[1:]
		s.put(j, now)
	}
	for i, j := range s.ready {
		if (slices.Contains(queues, j.queue) || s.bug.anyQueue) && !s.paused[j.queue] {
			s.ready = slices.Delete(s.ready, i, i+1)
			j.state = conformance.Running
			s.stir() // a call may wait for this room
			return j, time.Time{}
		}
	}
	if len(s.later) > 0 {
		return nil, s.later[0].at
	}
	return nil, time.Time{}
}

// finish ends a job for good. The lock is held.
func (s *store) finish(j *job, state conformance.RecordState) {
	j.state, j.holder = state, nil
	s.release(j)
	if s.bug.stored {
		s.remember(j.in, time.Now())
	}
	if s.bug.forgetsDone || s.bug.forgetsBuried && state == conformance.Buried {
		delete(s.ids, s.bug.idKey(j.in))
	}
}

// free says whether neither ID nor unique key is taken. The lock is held.
func (s *store) free(in core.Intent, now time.Time) bool {
	until, seen := s.ids[s.bug.idKey(in)]
	return !(seen && now.Before(until)) && s.unique[s.bug.uniqueKey(in)] == nil
}

// forget makes ID and unique key free. The lock is held.
func (s *store) forget(in core.Intent) {
	delete(s.ids, s.bug.idKey(in))
	delete(s.unique, s.bug.uniqueKey(in))
}

func (s *store) release(j *job) {
	if key := s.bug.uniqueKey(j.in); key != "" && s.unique[key] == j && !s.bug.keepUnique {
		delete(s.unique, key)
	}
}

func (s *store) records() []conformance.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []conformance.Record
	for _, j := range s.all {
		list = append(list, conformance.Record{ID: j.in.ID, Task: j.in.Task, State: j.state})
	}
	return list
}
