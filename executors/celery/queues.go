package celeryexec

import (
	"errors"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const (
	celeryQueue = "celery" // task_default_queue of Celery
	deadSuffix  = ".dead"  // of the list with the dead jobs of our worker
	separator   = "\x06\x16"
)

// queueNames translates the names of queues. Those that Celery or our worker uses for
// something else are refused also if nobody has renamed them.
type queueNames struct {
	adapter.QueueNames
	possible func(native string) error // of the broker
}

func newQueueNames(given map[string]string, possible func(native string) error) (queueNames, error) {
	names := maps.Clone(given)
	if names == nil {
		names = map[string]string{}
	}
	if _, ok := names[adapter.DefaultQueue]; !ok {
		names[adapter.DefaultQueue] = celeryQueue
	}
	q, err := adapter.NewQueueNames(name, names, possible)
	return queueNames{q, possible}, err
}

// check returns an error for a queue that cannot be used.
func (q queueNames) check(portable string) error {
	if err := q.Check(portable); err != nil {
		return err
	}
	if err := q.possible(q.Native(portable)); err != nil {
		return invalid("queue %s: %v", portable, err)
	}
	return nil
}

// refuse is check for an intent.
func (q queueNames) refuse(in *core.Intent) error {
	if err := q.Refuse(in); err != nil {
		return err
	}
	if err := q.possible(q.Native(in.Options.Queue)); err != nil {
		return &core.OptionError{Option: core.OptionQueue, Executor: name, Reason: err.Error()}
	}
	return nil
}

// possibleName returns an error for a name that cannot be a queue of any broker.
func possibleName(native string) error {
	switch {
	case native == "" || strings.TrimSpace(native) != native || !utf8.ValidString(native) || strings.ContainsFunc(native, unicode.IsControl):
		return errors.New("want UTF-8 that is not blank, without control characters and without white space at its ends")
	case len(native) > 200:
		return errors.New("want at most 200 bytes")
	case strings.HasSuffix(native, deadSuffix):
		return errors.New("the worker has a queue of that name")
	}
	return nil
}

// possibleAMQPQueue returns an error for a name that cannot be a queue of RabbitMQ.
func possibleAMQPQueue(native string) error {
	if strings.HasPrefix(native, "amq.") {
		return errors.New("names that begin with amq. are RabbitMQ's")
	}
	return possibleName(native)
}

// possibleQueue returns an error for a name that cannot be a queue on Redis, where it
// is a key next to kombu's own keys.
func possibleQueue(native string) error {
	switch {
	case native == unackedKey || native == unackedIndexKey || native == unackedMutexKey || strings.HasPrefix(native, bindingPrefix):
		return errors.New("kombu has a key of that name")
	case strings.HasPrefix(native, ownPrefix):
		return errors.New("the worker has a key of that name")
	}
	return possibleName(native)
}

// priorities are the numbers of kombu's lists of a queue, the first to be served
// first. They are Channel.priority_steps.
var priorities = []int{0, 3, 6, 9}

// listOf returns the list of a queue for one of kombu's priorities, which are 0 for
// the most urgent jobs to 9.
func listOf(native string, priority int) string {
	step := 0
	for _, p := range priorities {
		if p <= priority {
			step = p
		}
	}
	if step == 0 {
		return native
	}
	return native + separator + string(rune('0'+step))
}

// DeadQueue returns the name of the queue that has the dead jobs of a native queue. On
// RabbitMQ a dead job is its message, with a header airlock_dead, a table of reason,
// attempt, queue and at. Moved to the queue the message runs again.
//
// On Redis it is a list, without RedisOptions.KeyPrefix. An element is a JSON object:
//
//	{"reason":"…","attempt":3,"queue":"celery","at":"2026-01-02T15:04:05Z","message":"…"}
//
// The message is the text that was in the queue. LPUSH of it to the queue runs the job
// again.
func DeadQueue(native string) string { return native + deadSuffix }
