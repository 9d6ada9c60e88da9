package airlock

import (
	"context"

	"github.com/goairlock/airlock/core"
)

type defaults struct {
	exec     core.Executor
	set      settings // without the policies
	policies Policy   // also those of outer defaults
	err      error    // a bad option, returned by Begin
}

type defaultsKey struct{}

func defaultsOf(ctx context.Context) *defaults {
	d, _ := ctx.Value(defaultsKey{}).(*defaults)
	return d
}

// WithDefaults returns a context with defaults for the scopes below it.
//
// A scope that has no executor of its own and no scope around it uses exec, and
// opts before its own options. Of nested defaults the innermost counts. A nil exec
// takes the default away.
//
// The policies among opts hold for every scope below, also for one with an
// executor of its own. Those of nested defaults add up.
//
// A bad option is returned as an error by [Begin] and [Run].
func WithDefaults(ctx context.Context, exec core.Executor, opts ...Option) context.Context {
	if ctx == nil {
		return nil
	}
	d := &defaults{exec: exec}
	d.err = applyAll(&d.set, opts)
	own := d.set.policy
	d.set.policy, d.policies = Policy{}, own
	if outer := defaultsOf(ctx); outer != nil {
		d.policies = All(own, outer.policies)
		if d.err == nil {
			d.err = outer.err
		}
	}
	return WithPolicy(context.WithValue(ctx, defaultsKey{}, d), own)
}
