package conformance

import (
	"iter"
	"slices"

	"github.com/goairlock/airlock/core"
)

// smallerIn yields the histories of smaller, n at a time.
func (h history) smallerIn(n int) iter.Seq[[]history] {
	return func(yield func([]history) bool) {
		var some []history
		for small := range h.smaller {
			if some = append(some, small); len(some) < n {
				continue
			}
			if !yield(some) {
				return
			}
			some = nil
		}
		if len(some) > 0 {
			yield(some)
		}
	}
}

// smaller yields histories that each lack something, the smallest first.
func (h history) smaller(yield func(history) bool) {
	for size := len(h.deeds) / 2; size >= 1; size /= 2 {
		for from := 0; from+size <= len(h.deeds); from += size {
			s := h
			s.deeds = slices.Delete(slices.Clone(h.deeds), from, from+size)
			if !yield(s) {
				return
			}
		}
	}
	for i, d := range h.deeds {
		for k := range d.jobs {
			if len(d.jobs) > 1 && !yield(h.with(i, slices.Delete(slices.Clone(d.jobs), k, k+1))) {
				return
			}
		}
	}
	for i, d := range h.deeds {
		for k, j := range d.jobs {
			for simpler := range j.simpler {
				jobs := slices.Clone(d.jobs)
				jobs[k] = simpler
				if !yield(h.with(i, jobs)) {
					return
				}
			}
		}
		if d.second || d.gone {
			s := h.with(i, d.jobs)
			s.deeds[i].second, s.deeds[i].gone = false, false
			if !yield(s) {
				return
			}
		}
	}
}

// with returns a history with other jobs in one call.
func (h history) with(i int, jobs []*plannedJob) history {
	h.deeds = slices.Clone(h.deeds)
	h.deeds[i].jobs = jobs
	return h
}

// simpler yields jobs that each lack one option or one act.
func (j *plannedJob) simpler(yield func(*plannedJob) bool) {
	if j.again > 0 {
		return
	}
	lacks := []struct {
		has    bool
		change func(*plannedJob)
	}{
		{j.headers > 0, func(s *plannedJob) { s.headers = 0 }},
		{j.body > 0, func(s *plannedJob) { s.body = 0 }},
		{j.queue != "", func(s *plannedJob) { s.queue = "" }},
		{j.delay > 0, func(s *plannedJob) { s.delay = 0 }},
		{j.past, func(s *plannedJob) { s.past = false }},
		{j.priority > 0, func(s *plannedJob) { s.priority = 0 }},
		{j.timeout > 0, func(s *plannedJob) { s.timeout = 0 }},
		{j.deadline > 0, func(s *plannedJob) { s.deadline = 0 }},
		{j.id > 0, func(s *plannedJob) { s.id = 0 }},
		{j.key > 0, func(s *plannedJob) { s.key = 0 }},
		{!j.backoff.IsZero(), func(s *plannedJob) { s.backoff = core.BackoffPolicy{} }},
		{j.attempts > 0, func(s *plannedJob) { s.attempts = 0 }},
		{len(j.acts) > 0, func(s *plannedJob) { s.acts = s.acts[:len(s.acts)-1] }},
		{len(j.acts) > 1, func(s *plannedJob) { s.acts = s.acts[1:] }},
	}
	for _, l := range lacks {
		if !l.has {
			continue
		}
		s := *j
		if l.change(&s); !yield(&s) {
			return
		}
	}
	for i, a := range j.acts {
		if a.lasts == 0 {
			continue
		}
		s := *j
		s.acts = slices.Clone(j.acts)
		s.acts[i].lasts = 0
		if !yield(&s) {
			return
		}
	}
}
