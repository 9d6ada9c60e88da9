// Package ids remembers the job IDs of an executor that runs jobs in this process, so
// that the same intent sent again is no second job.
package ids

// State says what is known about an ID.
type State uint8

// The states of an ID.
const (
	Unknown   State = iota // never added, released, or forgotten
	Present                // its job waits or runs
	Succeeded              // its job has succeeded
)

// Set remembers job IDs. The ID of a job that waits or runs is kept until Succeed or
// Release. IDs of jobs that succeeded are kept up to a limit; beyond it, the one that
// succeeded first is forgotten. Each of them takes about 130 bytes.
//
// A Set is not safe for concurrent use: the executor's lock guards it.
type Set struct {
	states map[string]State
	ring   []string // IDs that have succeeded
	oldest int      // the first of ring, once ring is full
	keep   int      // the limit of ring
}

// New returns an empty Set that keeps at most keep IDs of jobs that succeeded, or none
// if keep is less than 1.
func New(keep int) *Set {
	return &Set{states: make(map[string]State), keep: keep}
}

// State returns what is known about an ID.
func (s *Set) State(id string) State { return s.states[id] }

// Add adds the ID of a job that waits or runs. It returns false, and changes nothing,
// if the ID is known already.
func (s *Set) Add(id string) bool {
	if _, known := s.states[id]; known {
		return false
	}
	s.states[id] = Present
	return true
}

// Succeed records that a job has succeeded. Its ID is kept up to the limit. An ID that
// is not Present does not change.
func (s *Set) Succeed(id string) {
	if s.states[id] != Present {
		return
	}
	switch {
	case s.keep < 1:
		delete(s.states, id)
		return
	case len(s.ring) < s.keep:
		s.ring = append(s.ring, id)
	default:
		delete(s.states, s.ring[s.oldest])
		s.ring[s.oldest] = id
		s.oldest = (s.oldest + 1) % s.keep
	}
	s.states[id] = Succeeded
}

// Release forgets the ID of a job that failed for good or never ran, so that it can be
// added again. An ID that is not Present does not change.
func (s *Set) Release(id string) {
	if s.states[id] == Present {
		delete(s.states, id)
	}
}

// Len returns the number of IDs that are known.
func (s *Set) Len() int { return len(s.states) }
