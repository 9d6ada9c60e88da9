package conformance

import (
	"context"
	"strings"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// noSecrets provokes every error that it can. What a dispatch returns is looked at in
// every check, see secrets.
func noSecrets(p *probe) {
	s := p.open(Setup{Slots: 2})
	canary := p.secret.canary
	look := func(what string) {
		if list := p.secret.spills(); len(list) > 0 {
			p.fail("no payload and no header value in an error or a line of the log", "%s: %s", what, list[0])
		}
	}
	secret := func(plan handler, opts ...core.Option) job {
		if s.caps.Options[core.OptionHeader].Support != core.SupportRefused {
			opts = append(opts, core.Header("Authorization", canary))
		}
		return s.make(plan, opts...)
	}
	exec := s.sys.Exec
	try := func(what string, jobs ...job) {
		s.dispatchBy(exec, p.ctx, jobs...)
		look(what)
	}
	stranger := core.NativeOption("conformance-stranger", 1)
	refused := func() {
		try("a foreign option", secret(nil, stranger))
		try("a foreign option in a batch", secret(nil), secret(nil, stranger))
		for _, name := range core.PortableOptions() {
			if s.caps.Options[name].Support == core.SupportRefused && name != core.OptionHeader {
				try("refused option "+string(name), secret(nil, sampleOption(p, name)))
			}
		}
		if s.caps.Options[core.OptionHeader].Support == core.SupportRefused {
			try("refused option header", s.make(nil, core.Header("Authorization", canary)))
		}
		if most := s.caps.MaxPayload; most > 0 && most <= 16<<20 {
			try("a payload that is too large", s.makeRaw(sized(strings.Repeat(canary, 4), most+1)))
		}
		negative := secret(nil)
		negative.in.Options.MaxAttempts = -1
		try("a negative option", negative)
	}
	refused()
	if s.sys.Bare != nil {
		exec = s.sys.Bare
		refused()
		exec = s.sys.Exec
	}
	done, cancel := context.WithCancel(p.ctx)
	cancel()
	s.dispatch(done, secret(nil), secret(nil)) //nolint:errcheck // it is looked at
	look("a done context")
	if s.honours(core.OptionID) && s.caps.IDWindow.Kind != "" {
		id := sampleOption(p, core.OptionID)
		for range 2 {
			try("a duplicate", secret(nil, id))
		}
	}
	if s.honours(core.OptionUnique) {
		key := sampleOption(p, core.OptionUnique)
		for range 2 {
			try("a unique key", secret(nil, key))
		}
	}
	var once []core.Option
	if s.honours(core.OptionMaxAttempts) {
		once = append(once, core.MaxAttempts(1))
	}
	ways := map[string]handler{
		"a failure for good": func(*run) error { return worker.Permanent(errOnPurpose) },
		"a snooze": func(r *run) error {
			if r.ordinal == 1 && !s.sys.Inline {
				return worker.Snooze(s.soon().Max)
			}
			return nil
		},
		"a panic": func(*run) error { panic("on purpose") },
	}
	if len(once) > 0 || s.sys.Inline {
		ways["a failure"] = failing
	}
	for what, way := range ways {
		j := secret(way, once...)
		try(what, j)
		s.awaitEnd(j, 1, p.patience())
	}
	s.quiet()
	look("the log of the worker")
	if s.sys.Stop != nil {
		ctx, cancel := context.WithTimeout(p.ctx, p.patience())
		defer cancel()
		s.sys.Stop(ctx) //nolint:errcheck // it is looked at
		look("Stop")
		try("a stopped system", secret(nil))
	}
}
