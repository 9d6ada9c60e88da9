package asynqexec

import (
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
)

// Native gives an intent options that only asynq has. Every other executor
// refuses such an intent. The options are
//
//   - asynq.Retention: for how long a completed job is kept, rounded up to the
//     second. The larger one of it and [Options].IDWindow counts.
//   - asynq.Group: the group in which a worker with a Config.GroupAggregator
//     aggregates the job with others. Not together with Delay or At: asynq v0.26.0
//     drops the group of such a job.
//
// Any other option is refused at dispatch: use the portable one instead of asynq's
// Queue, TaskID, MaxRetry, Timeout, Deadline, Unique, ProcessAt and ProcessIn. A
// nil option, a retention of less than 0 or more than 100 years and an empty group
// are [core.ErrInvalid] there.
func Native(opts ...asynq.Option) core.Option {
	n := native{}
	for _, o := range opts {
		n.add(o)
	}
	return core.NativeOption(name, n)
}

// native is the value of a native option. Options are checked when they are made,
// since asynq ignores those of a type that it does not know.
type native struct {
	retention time.Duration
	group     string
	refused   string // a reason
	invalid   string // a reason
}

func (n *native) add(o asynq.Option) {
	if o == nil {
		n.invalid = "nil option"
		return
	}
	switch v := o.Value().(type) {
	case time.Duration:
		if o.Type() == asynq.RetentionOpt {
			if v < 0 || v > longest {
				n.invalid = fmt.Sprintf("retention of %v, want 0 to %v", v, longest)
			}
			n.retention = v
			return
		}
	case string:
		if o.Type() == asynq.GroupOpt {
			if v == "" {
				n.invalid = "empty group"
			}
			n.group = v
			return
		}
	}
	n.refused = "only Retention and Group: the others have a portable form"
}

// nativeOf adds up the native options of an intent.
func nativeOf(in *core.Intent) native {
	var all native
	for _, v := range in.Native(name) {
		n, ok := v.(native)
		switch {
		case !ok:
			all.refused = "not made by asynqexec.Native"
		case n.refused != "":
			all.refused = n.refused
		case n.invalid != "":
			all.invalid = n.invalid
		}
		if n.retention > 0 {
			all.retention = n.retention
		}
		if n.group != "" {
			all.group = n.group
		}
	}
	return all
}

// refuseNative returns an error for native options that asynq would ignore or that
// exclude each other.
func refuseNative(in *core.Intent) error {
	if !in.Has(core.OptionNative) {
		return nil
	}
	n := nativeOf(in)
	switch {
	case n.invalid != "":
		return invalid("task %s: native option: %s", in.Task, n.invalid)
	case n.refused != "":
		return &core.OptionError{Option: core.OptionNative, Executor: name, Reason: n.refused}
	case n.group != "" && in.Has(core.OptionDelay):
		return &core.OptionError{Option: core.OptionNative, Executor: name, Reason: "a group together with a delay: asynq drops the group"}
	}
	return nil
}
