package otelairlock

import "sync"

// names bounds label values: the first most names are themselves, and every further
// one is "_other".
type names struct {
	most int

	mu    sync.RWMutex
	known map[string]bool // guarded by mu
}

func (n *names) label(name string) string {
	n.mu.RLock()
	known, full := n.known[name], len(n.known) >= n.most
	n.mu.RUnlock()
	if known {
		return name
	}
	if full {
		return otherName
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= n.most && !n.known[name] {
		return otherName
	}
	if n.known == nil {
		n.known = make(map[string]bool)
	}
	n.known[name] = true
	return name
}

// taskLabel returns the label value of a task. known says that the task has a
// handler in the worker's registry.
func (t *Telemetry) taskLabel(task string, known bool) string {
	if known || t.tasks[task] {
		return task
	}
	return otherName
}

// queueOf returns the name of a queue, for spans.
func queueOf(queue string) string {
	if queue == "" {
		return defaultQueue
	}
	return queue
}
