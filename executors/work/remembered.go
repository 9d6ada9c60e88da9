package workexec

import "sync"

// remembered knows jobs that succeeded here although this worker may no longer have
// owned them: if such a job comes back it need not run again. It
// forgets the oldest.
type remembered struct {
	mu   sync.Mutex
	jobs map[rememberedKey]struct{} // guarded by mu
	old  []rememberedKey            // guarded by mu, the oldest first
}

// rememberedKey is a job. A later job of the same ID has another time.
type rememberedKey struct {
	list *list
	id   string
	t    int64
}

const mostRemembered = 10_000

func (r *remembered) add(h *held) {
	key := rememberedKey{h.list, h.message.ID, h.message.T}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.jobs[key]; ok {
		return
	}
	if len(r.old) >= mostRemembered {
		delete(r.jobs, r.old[0])
		r.old = r.old[1:]
	}
	r.jobs[key] = struct{}{}
	r.old = append(r.old, key)
}

func (r *remembered) has(h *held) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.jobs[rememberedKey{h.list, h.message.ID, h.message.T}]
	return ok
}
