// Package ids remembers which jobs an in-process executor has, so that the same
// intent sent again is no second job, as it would not be on a queue.
package ids

// State says what is known about an ID.
type State uint8

// The states of an ID.
const (
	Unknown   State = iota // never added, released, or forgotten
	Present                // of a job that waits or runs
	Succeeded              // of a job that has succeeded
)

// Set is a memory of job IDs. IDs of jobs that wait or run are kept until the
// job's end is told; IDs of jobs that succeeded are kept up to a bound, beyond
// which the one that succeeded first is forgotten. The bound thus limits the
// memory that is used: about 130 bytes for each ID of a usual length.
//
// A Set is not safe for concurrent use: the executor's own lock guards it.
type Set struct {
	states map[string]State
	ring   []string // IDs that have succeeded; from oldest on, once it is full
	oldest int
	keep   int
}

// New returns an empty Set that keeps at most keep IDs of jobs that succeeded;
// less than 1 for none.
func New(keep int) *Set {
	return &Set{states: make(map[string]State), keep: keep}
}

// State returns what is known about an ID.
func (s *Set) State(id string) State { return s.states[id] }

// Add notes a job that waits or runs from now on. It returns false, and changes
// nothing, if its ID is known already.
func (s *Set) Add(id string) bool {
	if _, known := s.states[id]; known {
		return false
	}
	s.states[id] = Present
	return true
}

// Succeed notes that a job of the Set has succeeded: its ID is remembered within
// the bound. An ID that is not Present is left as it is.
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

// Release forgets a job that has failed for good or was never run: its ID may be
// sent again. An ID that is not Present is left as it is.
func (s *Set) Release(id string) {
	if s.states[id] == Present {
		delete(s.states, id)
	}
}

// Len returns the number of IDs that are known.
func (s *Set) Len() int { return len(s.states) }
