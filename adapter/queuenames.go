package adapter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goairlock/airlock/core"
)

// DefaultQueue is the queue of intents that name none, on every queue of others
// that has such a name.
const DefaultQueue = "default"

// QueueNames translates between the portable names of queues, which intents have,
// and the names that a backend knows them by. It is made by [NewQueueNames]. The zero
// value leaves every name as it is.
type QueueNames struct {
	executor string
	native   map[string]string // by portable name
	portable map[string]string // by native name
}

// NewQueueNames returns the translation that an executor's QueueNames option asks
// for: from portable to native names. possible returns what is wrong with a native
// name on this backend, nil if nothing is. It returns [core.ErrInvalid] for a name
// that cannot be portable or native, and for two queues with one native name, of
// which one may be the default queue.
func NewQueueNames(executor string, names map[string]string, possible func(native string) error) (QueueNames, error) {
	q := QueueNames{executor: executor}
	if len(names) == 0 {
		return q, nil
	}
	q.native, q.portable = make(map[string]string, len(names)), make(map[string]string, len(names))
	for _, portable := range slices.Sorted(maps.Keys(names)) {
		native := names[portable]
		if err := validQueue(portable); err != nil {
			return QueueNames{}, q.invalid("%q is no portable name", portable)
		}
		if err := possible(native); err != nil {
			return QueueNames{}, q.invalid("queue %s: native name %q: %v", portable, native, err)
		}
		if other, taken := q.portable[native]; taken {
			return QueueNames{}, q.invalid("queues %s and %s have one native name %q", other, portable, native)
		}
		q.native[portable], q.portable[native] = native, portable
	}
	return q, q.Check(DefaultQueue)
}

func validQueue(portable string) error {
	if portable == "" {
		return core.ErrInvalid
	}
	return (&core.Options{Queue: portable}).Validate()
}

// Native returns the native name of a queue. "" is the default queue.
func (q QueueNames) Native(portable string) string {
	if portable == "" {
		portable = DefaultQueue
	}
	if native, ok := q.native[portable]; ok {
		return native
	}
	return portable
}

// Portable returns the portable name of a native queue.
func (q QueueNames) Portable(native string) string {
	if portable, ok := q.portable[native]; ok {
		return portable
	}
	return native
}

// Check returns [core.ErrInvalid] for a queue that has the same native name as another
// queue, since a worker could not know whose job it has. "" is the default queue.
func (q QueueNames) Check(portable string) error {
	if owner, taken := q.owner(portable); taken {
		return q.invalid("queue %s has the native name of queue %s", q.Native(portable), owner)
	}
	return nil
}

// Refuse returns a [*core.OptionError] for an intent whose queue has the native name
// of another one. It is for [core.Capabilities.Refuse].
func (q QueueNames) Refuse(in *core.Intent) error {
	owner, taken := q.owner(in.Options.Queue)
	if !taken {
		return nil
	}
	return &core.OptionError{
		Option: core.OptionQueue, Executor: q.executor, Reason: "QueueNames gives this native name to the queue " + owner,
	}
}

// owner returns the other queue that has this queue's name as its native name.
func (q QueueNames) owner(portable string) (owner string, taken bool) {
	if len(q.native) == 0 {
		return "", false
	}
	if portable == "" {
		portable = DefaultQueue
	}
	if _, renamed := q.native[portable]; renamed {
		return "", false
	}
	owner, taken = q.portable[portable]
	return owner, taken
}

// Worked is [WorkedQueues], and returns [core.ErrInvalid] as well for what
// [QueueNames.Check] finds.
func (q QueueNames) Worked(given, ofTasks []string) ([]string, error) {
	list, err := WorkedQueues(q.executor, given, ofTasks)
	if err != nil {
		return nil, err
	}
	for _, portable := range list {
		if err := q.Check(portable); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// WorkedQueues returns the portable names of the queues that a worker works: those
// given or, for nil, the default queue and those that its tasks name. It returns
// [core.ErrInvalid] for no queue at all, for a bad name and for a queue that is listed
// twice.
func WorkedQueues(executor string, given, ofTasks []string) ([]string, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("airlock: %s: WorkerOptions.Queues: %s: %w", executor, fmt.Sprintf(format, args...), core.ErrInvalid)
	}
	switch {
	case given == nil:
		isDefault := func(queue string) bool { return queue == DefaultQueue }
		given = append([]string{DefaultQueue}, slices.DeleteFunc(slices.Clone(ofTasks), isDefault)...)
	case len(given) == 0:
		return nil, bad("no queue, want nil or at least one")
	}
	var list []string
	for _, portable := range given {
		if validQueue(portable) != nil {
			return nil, bad("%q is no portable name", portable)
		}
		if slices.Contains(list, portable) {
			return nil, bad("queue %s is listed twice", portable)
		}
		list = append(list, portable)
	}
	return list, nil
}

func (q QueueNames) invalid(format string, args ...any) error {
	return fmt.Errorf("airlock: %s: QueueNames: %s: %w", q.executor, fmt.Sprintf(format, args...), core.ErrInvalid)
}
