package natsexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// InspectorOptions tune an [Inspector]. The zero value works.
type InspectorOptions struct {
	// QueueNames are those of the executor's [Options].
	QueueNames map[string]string
}

// Inspector looks at the queues of a stream and acts on their jobs. It is made by
// [NewInspector] and is an [inspect.Inspector].
//
// A queue and its lanes are one queue here. The states are
//
//	Waiting  in a lane and not delivered yet
//	Delayed  on JOBS.at: delayed, snoozed, parked, or between two attempts
//	Running  delivered and not acknowledged: it runs, or waits in its consumer for a
//	         next attempt that is not further away than ack_wait
//	Dead     on JOBS.dead, kept until an operator removes them
//	Done     not kept
//	Parked   unknown
//
// Each job costs one request, since JetStream has no page of messages. It has no index
// of IDs either, so Get, Retry and Discard look through all jobs of the queue. Queues
// and Depth ask for the names of all subjects, of which a delayed job has one of its
// own.
//
// Discard of a waiting job that a worker fetches at the same moment may come too late.
type Inspector struct {
	js     jetstream.JetStream
	conn   *nats.Conn
	api    string // the prefix of JetStream's own subjects
	stream string
	queues adapter.QueueNames
}

var _ inspect.Inspector = (*Inspector)(nil)

// NewInspector returns an inspector of a stream's jobs. It does no I/O. Nil opts are
// the zero [InspectorOptions]. A nil JetStream, an impossible stream name and bad
// names of queues are [core.ErrInvalid].
func NewInspector(js jetstream.JetStream, stream string, opts *InspectorOptions) (*Inspector, error) {
	if js == nil {
		return nil, invalidf("nil JetStream")
	}
	if err := checkStreamName(stream); err != nil {
		return nil, err
	}
	if opts == nil {
		opts = &InspectorOptions{}
	}
	queues, err := newQueueNames(opts.QueueNames)
	if err != nil {
		return nil, err
	}
	return &Inspector{js: js, conn: js.Conn(), api: apiPrefix(js), stream: stream, queues: queues}, nil
}

// Queues returns the queues that have a job or a consumer.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	subjects, err := i.subjects(ctx, i.stream+".*.>")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for subject := range subjects {
		if tokens := strings.SplitN(strings.TrimPrefix(subject, i.stream+"."), ".", 3); len(tokens) == 3 {
			names[i.queues.Portable(tokens[1])] = true
		}
	}
	for offset := 0; ; {
		var page struct {
			Total     int      `json:"total"`
			Consumers []string `json:"consumers"`
		}
		if err := i.ask(ctx, "CONSUMER.NAMES."+i.stream, map[string]int{"offset": offset}, &page); err != nil {
			return nil, err
		}
		for _, durable := range page.Consumers {
			native, _, _ := strings.Cut(durable, "--")
			names[i.queues.Portable(native)] = true
		}
		if offset += len(page.Consumers); offset >= page.Total || len(page.Consumers) == 0 {
			break
		}
	}
	queues := make([]string, 0, len(names))
	for queue := range names {
		queues = append(queues, queue)
	}
	slices.Sort(queues)
	return queues, nil
}

// subjects returns the numbers of messages on the subjects that match a filter.
func (i *Inspector) subjects(ctx context.Context, filter string) (map[string]uint64, error) {
	all := map[string]uint64{}
	for {
		var page struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		if err := i.ask(ctx, "STREAM.INFO."+i.stream, map[string]any{"subjects_filter": filter, "offset": len(all)}, &page); err != nil {
			return nil, err
		}
		before := len(all)
		for subject, n := range page.State.Subjects {
			all[subject] = n
		}
		if len(all) == before || len(all) >= page.Total {
			return all, nil
		}
	}
}

// Depth counts the jobs of a queue and its lanes. A queue is paused if each of its
// consumers is.
func (i *Inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	native, err := i.native(ctx, queue)
	if err != nil {
		return inspect.Depth{}, err
	}
	d := inspect.Depth{Queue: i.queues.Portable(native), Oldest: inspect.AgeOf(0)}
	var waiting, running int64
	consumers, paused := 0, 0
	for _, lane := range lanes {
		at, err := i.position(ctx, native, lane.kind)
		if err != nil {
			return inspect.Depth{}, err
		}
		waiting, running = waiting+at.waiting, running+at.running
		if at.exists {
			consumers++
		}
		if at.paused {
			paused++
		}
		switch next, found, err := i.next(ctx, i.filter(lane.kind, native), at.delivered+1); {
		case err != nil:
			return inspect.Depth{}, err
		case found:
			sofar, _ := d.Oldest.Known()
			d.Oldest = inspect.AgeOf(max(sofar, time.Since(next.Time)))
		}
	}
	d.Paused = consumers > 0 && consumers == paused
	d.Waiting, d.Running = inspect.CountOf(waiting), inspect.CountOf(running)
	for kind, count := range map[string]*inspect.Count{kindAt: &d.Delayed, kindDead: &d.Dead} {
		n, err := i.count(ctx, i.filter(kind, native))
		if err != nil {
			return inspect.Depth{}, err
		}
		*count = inspect.CountOf(n)
	}
	return d, nil
}

func (i *Inspector) count(ctx context.Context, filter string) (n int64, err error) {
	subjects, err := i.subjects(ctx, filter)
	for _, messages := range subjects {
		n += int64(messages)
	}
	return n, err
}

func (i *Inspector) filter(kind, native string) string {
	return i.stream + "." + kind + "." + native + ".>"
}

// position says how far a consumer is.
type position struct {
	delivered        uint64 // the last sequence that was delivered
	waiting, running int64
	exists, paused   bool
}

func (i *Inspector) position(ctx context.Context, native, kind string) (p position, err error) {
	var info jetstream.ConsumerInfo
	err = i.ask(ctx, "CONSUMER.INFO."+i.stream+"."+durableOf(native, kind), nil, &info)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		p.waiting, err = i.count(ctx, i.filter(kind, native))
		return p, err
	case err != nil:
		return p, err
	}
	return position{info.Delivered.Stream, int64(info.NumPending), int64(info.NumAckPending), true, info.Paused}, nil
}

// native returns the native name of a queue that has a job or a consumer.
func (i *Inspector) native(ctx context.Context, queue string) (string, error) {
	if err := i.check(ctx); err != nil {
		return "", err
	}
	if err := i.queues.Check(queue); err != nil {
		return "", err
	}
	native := i.queues.Native(queue)
	if err := possibleQueue(native); err != nil {
		return "", invalidf("queue %q: %v", queue, err)
	}
	if _, found, err := i.next(ctx, i.filter("*", native), 1); found || err != nil {
		return native, err
	}
	for _, lane := range lanes {
		err := i.ask(ctx, "CONSUMER.INFO."+i.stream+"."+durableOf(native, lane.kind), nil, &struct{}{})
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return native, err
		}
	}
	return "", fmt.Errorf("airlock: nats: queue %q: %w", native, inspect.ErrNotFound)
}

func (i *Inspector) check(ctx context.Context) error {
	switch {
	case i == nil || i.js == nil:
		return invalidf("zero Inspector: inspectors are made by NewInspector")
	case ctx == nil:
		return invalidf("nil context")
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

// ask sends a request to JetStream's interface. Its errors have what the caller can
// act on.
func (i *Inspector) ask(ctx context.Context, subject string, body, answer any) error {
	return inspectError(ctx, ask(ctx, i.conn, i.api+subject, body, answer))
}

func inspectError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("airlock: nats: %w: %w", core.ContextError(ctx), err)
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrDisconnected):
		return fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, err)
	}
	return fmt.Errorf("airlock: nats: %w", err)
}
