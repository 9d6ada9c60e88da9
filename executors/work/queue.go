package workexec

import "strings"

// defaultQueue is the queue of jobs that name none. Its namespace is the base.
const defaultQueue = "default"

// queueInfix stands between the base namespace and a queue. None of the
// library's own keys goes on with it, so that a queue of any name, "jobs" too,
// has keys of its own.
const queueInfix = ":queue:"

// Namespace returns the namespace of a queue: what work.NewWorkerPool, work.NewClient
// and work.NewEnqueuer must be given to work with the jobs that an [Executor] with
// this [Options].Namespace stores for the queue. For "" and "default" it is the
// base itself, else base + ":queue:" + queue.
func Namespace(base, queue string) string {
	if queue == "" || queue == defaultQueue {
		return base
	}
	return strings.TrimSuffix(base, ":") + queueInfix + queue
}

// queueOf is the queue whose namespace this is.
func queueOf(namespace string) string {
	if _, queue, ok := strings.Cut(namespace, queueInfix); ok {
		return strings.TrimSuffix(queue, ":")
	}
	return defaultQueue
}

// prefixOf is what the keys of a namespace begin with, as the library makes it.
func prefixOf(namespace string) string {
	if namespace == "" || strings.HasSuffix(namespace, ":") {
		return namespace
	}
	return namespace + ":"
}
