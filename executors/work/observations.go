package workexec

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"
)

// observations is what the library's web interface shows of the slots of a worker: the
// job that each is running. They are written once a second, as the library does.
type observations struct {
	mu    sync.Mutex
	slots []observed // guarded by mu
}

// observed is what one slot is running.
type observed struct {
	job     *held // nil if it is free
	since   time.Time
	written *held // what Redis has of it
}

const observeEvery = time.Second

func (o *observations) set(slot int, h *held) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slots[slot].job, o.slots[slot].since = h, time.Now()
}

// changed returns the slots that are not as they were written, by number.
func (o *observations) changed() map[int]observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := map[int]observed{}
	for n, s := range o.slots {
		if s.job != s.written {
			changed[n] = s
		}
	}
	return changed
}

// wrote notes that a slot is written.
func (o *observations) wrote(slot int, job *held) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slots[slot].written = job
}

// slotID returns the name of a slot among the workers of the library.
func (w *Worker) slotID(slot int) string { return w.id + "-" + strconv.Itoa(slot) }

// slotIDs returns the names of all slots.
func (w *Worker) slotIDs() string {
	ids := make([]string, len(w.observations.slots))
	for slot := range ids {
		ids[slot] = w.slotID(slot)
	}
	return strings.Join(ids, ",")
}

// observeLoop shows what the slots are running until ctx is done. Then it shows that
// they run nothing.
func (w *Worker) observeLoop(ctx context.Context) {
	for sleep(ctx, observeEvery) {
		w.observe(ctx)
	}
	for slot := range w.observations.slots {
		w.observations.set(slot, nil)
	}
	w.observe(context.WithoutCancel(ctx))
}

// observe writes what has changed. An error is logged by outageLog.
func (w *Worker) observe(ctx context.Context) {
	for slot, s := range w.observations.changed() {
		var keys []string
		var argv []any
		for _, h := range []*held{s.job, s.written} {
			if h != nil {
				keys = append(keys, h.list.prefix+"worker:"+w.slotID(slot))
			}
		}
		if h := s.job; h != nil {
			argv = []any{h.list.name, h.message.ID, s.since.Unix(), []byte(h.message.Args)}
		}
		if _, _, err := w.eval(ctx, "show a slot", observeScript, keys, argv...); err != nil {
			return
		}
		w.observations.wrote(slot, s.job)
	}
}

// observeScript writes what a slot is running, in the form of the library, and removes
// what it was running, perhaps in another namespace. Without ARGV it is free.
var observeScript = newScript(`
for _, key in ipairs(KEYS) do
	redis.call("DEL", key)
end
if #ARGV > 0 then
	redis.call("HMSET", KEYS[1], "job_name", ARGV[1], "job_id", ARGV[2], "started_at", ARGV[3], "args", ARGV[4])
	redis.call("EXPIRE", KEYS[1], 86400)
end
return 1
`)
