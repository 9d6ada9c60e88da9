package celeryexec

import (
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

const (
	// maxPayload leaves room in a Redis string of 512 MiB for base64, which is a third
	// longer, and the rest of the message.
	maxPayload = 380 << 20

	// maxDepth is how deeply arguments may be nested. Python's decoder stops at about
	// 1000, and logging and pickling of the worker need some of that.
	maxDepth = 200

	// maxAMQPPayload leaves room in the max_message_size of RabbitMQ 4 for the rest of
	// the body. An earlier one allows eight times as much.
	maxAMQPPayload = 16<<20 - 1<<10

	// amqpPriorities is the x-max-priority that queues need for Options.Priorities.
	amqpPriorities = 10
)

func capabilities(o *Options, longestDelay time.Duration, names queueNames) core.Capabilities {
	native := core.Claim{Support: core.SupportNative}
	python := func(reason string) core.Claim { return core.Claim{Reason: reason} }
	caps := core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       native,
			core.OptionPriority:    python("messages of Python programs without a priority rank first: set Options.Priorities"),
			core.OptionDelay:       {Support: core.SupportNative, Granularity: time.Microsecond, Longest: longestDelay},
			core.OptionMaxAttempts: python("the Python task decides how often it runs: max_retries"),
			core.OptionBackoff:     python("the Python task decides how long it waits: retry_backoff"),
			core.OptionTimeout: {
				Support: core.SupportEmulated, Granularity: time.Second,
				Reason: "it is Celery's soft time limit, which only the prefork pool keeps",
			},
			core.OptionDeadline: {
				Support: core.SupportEmulated, Granularity: time.Microsecond,
				Reason: "Celery does not start the job after it; a run that has begun must look at self.request.expires",
			},
			core.OptionID:     python("Celery remembers no IDs: a task ID that is sent twice is two jobs"),
			core.OptionUnique: python("Celery has no unique jobs"),
			core.OptionHeader: native,
		},
		Delivery:        core.GuaranteeAtMostOnce,
		Durability:      core.DurabilityBroker,
		Order:           core.OrderFIFO,
		MaxPayload:      maxPayload,
		DefaultAttempts: o.Attempts,
		Refuse: func(in core.Intent) error {
			if err := names.refuse(&in); err != nil {
				return err
			}
			return refuse(&in)
		},
	}
	if o.AcksLate {
		caps.Delivery = core.GuaranteeAtLeastOnce
	}
	if o.Priorities {
		caps.Ranking, caps.PriorityLevels = core.RankingStrict, len(priorities)
		caps.Options[core.OptionPriority] = native
	}
	return caps
}

// amqpCapabilities are the capabilities on RabbitMQ.
func amqpCapabilities(o *Options, names queueNames) core.Capabilities {
	held := o.AMQP.ConsumerTimeout
	if o.AcksLate { // otherwise the job is acknowledged when it begins
		held /= 2
	}
	caps := capabilities(o, held/10*9, names) // the clocks of producer and worker may differ
	caps.MaxPayload = maxAMQPPayload
	if o.Priorities {
		caps.PriorityLevels = amqpPriorities
	} else {
		caps.Options[core.OptionPriority] = core.Claim{Reason: "a queue of RabbitMQ may be declared without priorities: set Options.Priorities"}
	}
	if o.AcksLate {
		timeout := caps.Options[core.OptionTimeout]
		timeout.Longest = o.AMQP.ConsumerTimeout - held
		caps.Options[core.OptionTimeout] = timeout
	}
	refuse := caps.Refuse
	caps.Refuse = func(in core.Intent) error {
		if err := refuse(in); err != nil {
			return err
		}
		return refuseAMQP(&in)
	}
	return caps
}

// refuseAMQP returns an error for headers that RabbitMQ would act upon or lose. All
// headers that core allows fit into a frame.
func refuseAMQP(in *core.Intent) error {
	for k := range in.Headers().All() {
		if amqpHeader(k) {
			return &core.OptionError{Option: core.OptionHeader, Executor: name, Reason: "RabbitMQ has a header of that name: " + k}
		}
	}
	return nil
}

// amqpHeader reports whether a header is RabbitMQ's own.
func amqpHeader(header string) bool {
	return header == "CC" || header == "BCC" || strings.HasPrefix(header, "x-")
}

// refuse returns an error for what the claims do not express.
func refuse(in *core.Intent) error {
	for header := range in.Headers().All() {
		if reservedHeader(header) {
			return &core.OptionError{Option: core.OptionHeader, Executor: name, Reason: "Celery has a header or an attribute of the request of that name: " + header}
		}
	}
	switch depth, ok := depthOf(in.Payload()); {
	case !ok:
		return fmt.Errorf("airlock: celery: task %s: arguments that are not JSON in UTF-8: %w", in.Task, core.ErrInvalid)
	case !keptByPython(in.Payload()):
		return fmt.Errorf("airlock: celery: task %s: a number in the arguments is none that a float of Python can keep: %w", in.Task, core.ErrInvalid)
	case depth > maxDepth:
		return fmt.Errorf("airlock: celery: task %s: arguments nested %d deep, want at most %d: Python cannot decode more: %w", in.Task, depth, maxDepth, core.ErrInvalid)
	}
	return nil
}

// reservedHeaders are the headers of Celery's and kombu's messages, and the names in
// celery.app.task.Context, on which further headers become attributes.
var reservedHeaders = setOf(
	"lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id", "parent_id",
	"argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamps", "stamped_headers", "compression", "redelivered",
	"args", "kwargs", "callbacks", "errbacks", "chain", "chord", "called_directly", "correlation_id", "delivery_info", "headers", "hostname",
	"is_eager", "logfile", "loglevel", "properties", "reply_to", "taskset", "utc", "children", "_children", "_protected",
	"get", "update", "clear", "as_execution_options", "delivery_tag", "priority",
	formHeader, deadHeader,
)

func reservedHeader(header string) bool {
	_, ok := reservedHeaders[header]
	return ok || strings.HasPrefix(header, "__")
}

func setOf(names ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, n := range names {
		set[n] = struct{}{}
	}
	return set
}
