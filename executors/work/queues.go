package workexec

import (
	"maps"
	"slices"
	"strings"

	"github.com/goairlock/airlock/core"
)

const (
	defaultQueue     = "default" // of jobs that name none. Its namespace is the base
	defaultNamespace = "work"
)

// queueInfix is between the base namespace and a queue. None of the library's own
// keys continues with it, so a queue of any name, even "jobs", has its own keys.
const queueInfix = ":queue:"

// Namespace returns the namespace of a queue: what work.NewWorkerPool, work.NewClient
// and work.NewEnqueuer must be given to work with the jobs that an [Executor] with
// this [Options].Namespace stores for the queue. For "" and "default" it is the
// base, else base + ":queue:" + queue. Queues of Options.QueueNames have the
// namespaces that are named there.
func Namespace(base, queue string) string {
	if queue == "" || queue == defaultQueue {
		return base
	}
	return strings.TrimSuffix(base, ":") + queueInfix + queue
}

// namespaces maps queues to namespaces.
type namespaces struct {
	base   string
	prefix string            // of the base's keys
	native map[string]string // queue to key prefix, for Options.QueueNames
}

func newNamespaces(base string, names map[string]string) (namespaces, error) {
	if base == "" {
		base = defaultNamespace
	}
	if strings.Contains(base, queueInfix) {
		return namespaces{}, invalid("Namespace: %q contains %q, which separates the queue", base, queueInfix)
	}
	n := namespaces{base: base, prefix: prefixOf(base), native: map[string]string{}}
	taken := map[string]string{}
	if names[defaultQueue] == "" {
		taken[n.prefix] = defaultQueue
	}
	for _, queue := range slices.Sorted(maps.Keys(names)) {
		if err := validQueue(queue); err != nil {
			return n, err
		}
		prefix := prefixOf(names[queue])
		switch other, twice := taken[prefix]; {
		case strings.Trim(prefix, ":") == "":
			return n, invalid("QueueNames: queue %s has an empty namespace", queue)
		case strings.Contains(prefix, queueInfix):
			return n, invalid("QueueNames: the namespace of queue %s contains %q", queue, queueInfix)
		case twice:
			return n, invalid("QueueNames: queues %s and %s have one namespace", other, queue)
		}
		taken[prefix], n.native[queue] = queue, prefix
	}
	return n, nil
}

func validQueue(queue string) error {
	if queue == "" {
		return invalid("empty queue name")
	}
	return (&core.Options{Queue: queue}).Validate()
}

// of returns the prefix of a queue's keys.
func (n *namespaces) of(queue string) string {
	if queue == "" {
		queue = defaultQueue
	}
	if len(n.native) > 0 {
		if prefix, ok := n.native[queue]; ok {
			return prefix
		}
	}
	if queue == defaultQueue {
		return n.prefix
	}
	return prefixOf(Namespace(n.base, queue))
}

// queueOf returns the queue that has this namespace, "default" for any other.
func (n *namespaces) queueOf(namespace string) string {
	prefix := prefixOf(namespace)
	for queue, native := range n.native {
		if native == prefix {
			return queue
		}
	}
	if _, queue, ok := strings.Cut(namespace, queueInfix); ok {
		return strings.TrimSuffix(queue, ":")
	}
	return defaultQueue
}

// prefixOf returns what the keys of a namespace begin with, as the library makes it.
func prefixOf(namespace string) string {
	if namespace == "" || strings.HasSuffix(namespace, ":") {
		return namespace
	}
	return namespace + ":"
}
