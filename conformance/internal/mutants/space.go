package mutants

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// space is what a broker stores for one namespace.
type space struct {
	room    int // how many may wait; 0 for any number
	wake    chan struct{}
	jobs    []*remoteJob // waiting or running
	past    []*remoteJob
	ids     map[string]bool
	keys    map[string]*remoteJob
	nextTag int
}

// remoteJob is a stored job. Its tag changes with each delivery, so that a
// worker that has lost its lease can do no harm.
type remoteJob struct {
	id, key string
	raw     json.RawMessage
	state   conformance.RecordState
	attempt int
	tag     int
	until   time.Time // of its lease, or not before when it is run
}

func (s *space) stir() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// put stores one job. known are the IDs and keys of the connection.
func (b *broker) put(s *space, raw json.RawMessage, known map[string]bool) core.State {
	j := &remoteJob{raw: raw, state: conformance.Waiting, attempt: 1}
	again := core.Accepted
	if in, err := adapter.DecodeIntent(raw); err == nil {
		j.id = in.ID
		if key := in.Options.Unique; key != "" {
			j.key = in.Task + "\n" + key
		}
		if in.ChosenID() {
			again = core.Duplicate
		}
	}
	seen := s.ids[j.id] && (!b.bug.idsPerConnection || known["id "+j.id])
	taken := s.keys[j.key] != nil && (!b.bug.keysPerConnection || known["key "+j.key])
	switch {
	case j.id != "" && seen:
		return again
	case j.key != "" && taken:
		return core.Duplicate
	}
	if s.room > 0 && s.waiting() >= s.room {
		if !b.bug.dropsOldest {
			return core.NotSent
		}
		i := slices.IndexFunc(s.jobs, func(j *remoteJob) bool { return j.state == conformance.Waiting })
		s.jobs = slices.Delete(s.jobs, i, i+1)
	}
	s.ids[j.id], known["id "+j.id], known["key "+j.key] = true, true, true
	if j.key != "" {
		s.keys[j.key] = j
	}
	s.jobs = append(s.jobs, j)
	s.stir()
	return core.Accepted
}

func (s *space) waiting() int {
	n := 0
	for _, j := range s.jobs {
		if j.state == conformance.Waiting {
			n++
		}
	}
	return n
}

// take leases jobs that wait or whose lease is over. Without any it returns when to
// look again.
func (s *space) take(most int, r *reply) (next time.Time) {
	now := time.Now()
	for _, j := range s.jobs {
		switch {
		case len(r.Jobs) == most:
		case j.until.After(now):
			if next.IsZero() || j.until.Before(next) {
				next = j.until
			}
		default:
			s.nextTag++
			if j.state == conformance.Running {
				j.attempt++
			}
			j.state, j.tag, j.until = conformance.Running, s.nextTag, now.Add(lease)
			r.Jobs, r.Tags, r.Attempts = append(r.Jobs, j.raw), append(r.Tags, j.tag), append(r.Attempts, j.attempt)
		}
	}
	return next
}

// settle does with jobs what their worker says.
func (s *space) settle(req request) {
	for _, j := range s.jobs {
		if j.state != conformance.Running || !slices.Contains(req.Tags, j.tag) {
			continue
		}
		switch {
		case req.Op == "renew":
			j.until = time.Now().Add(lease)
		case req.End == worker.Retry:
			j.attempt++
			j.state, j.until = conformance.Waiting, time.Now().Add(max(req.After, ownBackoff))
		case req.End == worker.Snoozed, req.End == worker.Parked, req.End == worker.Interrupted:
			j.state, j.until = conformance.Waiting, time.Now().Add(req.After)
		case req.End == worker.Done:
			j.state = conformance.Finished
		case req.End == worker.Dead:
			j.state = conformance.Buried
		}
	}
	s.jobs = slices.DeleteFunc(s.jobs, func(j *remoteJob) bool {
		over := j.state == conformance.Finished || j.state == conformance.Buried
		if over {
			s.past = append(s.past, j)
			delete(s.keys, j.key)
		}
		return over
	})
	s.stir()
}
