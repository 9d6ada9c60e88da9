package rabbitexec

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

const (
	defaultQueue = "default" // of jobs that name none
	deadSuffix   = ".dead"
	maxQueueName = 255 - len(deadSuffix) // bytes, a short string of AMQP
	levels       = 10                    // of priority
	// deliveryLimit is more than a job needs. RabbitMQ 4 drops a message after 20
	// deliveries if the queue has no limit of its own.
	deliveryLimit = 1_000_000
)

// Topology says how queues are named and of what kind they are. Executors, workers
// and [EnsureQueues] that work together need the same. The zero value works.
type Topology struct {
	// Prefix is what the native names of queues begin with: "billing." makes the
	// queue "email" the native queue "billing.email".
	Prefix string

	// QueueNames gives queues another name in RabbitMQ: portable to native. The
	// prefix is not added. A native name does not end in ".dead".
	QueueNames map[string]string

	// Classic uses classic queues. Without it they are quorum queues, which keep
	// jobs on several nodes of a cluster and count deliveries.
	Classic bool

	// Priorities honours core.Priority, with classic queues that have x-max-priority
	// 10. It needs Classic: quorum queues of RabbitMQ 3 have no priorities.
	Priorities bool

	// Inbox makes an ID one job and honours core.Unique. The executor notes in it what
	// it sends, and the worker what it runs. Nil refuses both options.
	Inbox Inbox

	// InboxWindow is how long an ID is remembered after its job is done or dead. 0
	// means 24 hours.
	InboxWindow time.Duration
}

// topology is a Topology that was checked.
type topology struct {
	Topology
	portable map[string]string // native name to portable name, of QueueNames
}

func newTopology(given Topology) (topology, error) {
	t := topology{Topology: given, portable: map[string]string{}}
	t.QueueNames = maps.Clone(given.QueueNames)
	if given.InboxWindow < 0 || given.InboxWindow > longestDelay {
		return t, invalid("Topology.InboxWindow: %v, want more than 0 and at most %v", given.InboxWindow, longestDelay)
	}
	if t.InboxWindow == 0 {
		t.InboxWindow = defaultInboxWindow
	}
	if given.Priorities && !given.Classic {
		return t, invalid("Topology.Priorities needs Classic")
	}
	if given.Prefix != "" {
		if err := validNative(given.Prefix + strings.Repeat("q", 64)); err != nil {
			return t, invalid("Topology.Prefix: %v", err)
		}
	}
	for _, queue := range slices.Sorted(maps.Keys(given.QueueNames)) {
		native := given.QueueNames[queue]
		if err := validQueue(queue); err != nil {
			return t, err
		}
		if err := validNative(native); err != nil {
			return t, invalid("Topology.QueueNames: queue %s: %v", queue, err)
		}
		if other, twice := t.portable[native]; twice {
			return t, invalid("Topology.QueueNames: queues %s and %s have one native name", other, queue)
		}
		t.portable[native] = queue
	}
	return t, nil
}

func validQueue(queue string) error {
	if queue == "" {
		return invalid("empty queue name")
	}
	return (&core.Options{Queue: queue}).Validate()
}

func validNative(native string) error {
	switch {
	case strings.TrimSpace(native) == "":
		return fmt.Errorf("empty native name")
	case len(native) > maxQueueName:
		return fmt.Errorf("native name of %d bytes, want at most %d", len(native), maxQueueName)
	case !utf8.ValidString(native) || strings.ContainsFunc(native, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("native name with control characters or invalid UTF-8")
	case strings.HasPrefix(native, "amq.") || strings.HasPrefix(native, ladderPrefix):
		return fmt.Errorf("native name %q begins with a reserved word", native)
	case strings.HasSuffix(native, deadSuffix):
		return fmt.Errorf("native name %q ends in %s", native, deadSuffix)
	}
	return nil
}

// native returns the name of a queue in RabbitMQ.
func (t *topology) native(queue string) string {
	if queue == "" {
		queue = defaultQueue
	}
	if native, ok := t.QueueNames[queue]; ok {
		return native
	}
	return t.Prefix + queue
}

// refuse returns an error for a queue whose native name QueueNames gives to another.
func (t *topology) refuse(in *core.Intent) error {
	queue := in.Options.Queue
	if queue == "" {
		queue = defaultQueue
	}
	if owner, taken := t.portable[t.native(queue)]; taken && owner != queue {
		return invalid("queue %s: Topology.QueueNames gives its native name to queue %s", queue, owner)
	}
	return nil
}

// DeadQueue returns the name of the queue that has the dead jobs of a native queue.
func DeadQueue(native string) string { return native + deadSuffix }

// EnsureQueues declares queues, the queues for their dead jobs, and the queues in
// which delayed jobs wait. Queues that exist are left as they are. It makes one
// connection with dial and closes it. A nil topology is the zero [Topology].
//
// It returns [core.ErrInvalid] for bad names, and what RabbitMQ answers otherwise: a
// queue that exists with other arguments is an *amqp.Error with the code 406.
func EnsureQueues(ctx context.Context, dial Dial, given *Topology, queues ...string) error {
	if dial == nil || ctx == nil {
		return invalid("EnsureQueues: nil dial function or context")
	}
	if given == nil {
		given = &Topology{}
	}
	t, err := newTopology(*given)
	if err != nil {
		return err
	}
	for _, queue := range queues {
		if err := validQueue(queue); err != nil {
			return err
		}
		if err := t.refuse(&core.Intent{Options: core.Options{Queue: queue}}); err != nil {
			return err
		}
	}
	return withChannel(ctx, dial, func(ch *amqp.Channel, _ *amqp.Connection) error {
		if err := declareLadder(ch, t.Classic); err != nil {
			return err
		}
		for _, queue := range queues {
			if err := t.declare(ch, t.native(queue)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *topology) declare(ch *amqp.Channel, native string) error {
	args, dead := queueArgs(t.Classic), queueArgs(t.Classic)
	if !t.Classic {
		args["x-delivery-limit"] = int64(deliveryLimit)
		dead["x-delivery-limit"] = int64(deliveryLimit) // an inspector takes dead jobs and gives them back
	}
	if t.Priorities {
		args["x-max-priority"] = int64(levels)
	}
	if _, err := ch.QueueDeclare(native, true, false, false, false, args); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(DeadQueue(native), true, false, false, false, dead); err != nil {
		return err
	}
	return ch.QueueBind(native, "#."+address(native), dueExchange(t.Classic), false, nil)
}

func queueArgs(classic bool) amqp.Table {
	if classic {
		return amqp.Table{"x-queue-type": "classic"}
	}
	return amqp.Table{"x-queue-type": "quorum"}
}

// withChannel calls use with a channel of a connection of its own. It returns when
// ctx ends, and closes the connection then.
func withChannel(ctx context.Context, dial Dial, use func(*amqp.Channel, *amqp.Connection) error) error {
	l := newLink(dial, nil, "")
	defer l.Close()
	conn, err := l.Get(ctx)
	if err != nil {
		return err
	}
	return amqplink.Within(ctx, func() error {
		ch, err := conn.Channel()
		if err == nil {
			err = use(ch, conn)
		}
		if err != nil {
			return fullName.Error(err)
		}
		return nil
	})
}
