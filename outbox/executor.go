package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/sqlstate"
)

// InTx returns an executor that stores intents in the caller's transaction. They
// are sent by a relay after the COMMIT, never without one. Call [Box.Wake] after the
// COMMIT if a relay of this process should not wait for its next look at the table.
//
// The executor can be asked. Its capabilities are those of Options.For, with the
// differences that [Box.Capabilities] lists.
//
// A call is one INSERT with many rows, or a few if it has more parameters than the
// driver takes, or more than 4 MB.
//
// If tx is not a transaction but a whole database, such as SQL(*sql.DB), each call
// is a transaction of its own. The capabilities are then not Transactional. This
// makes a spool of the outbox: see docs/transactions.md.
//
// Outcomes: Accepted if the row is in the transaction, also for an ID that is in the
// table already, since the executor behind the outbox finds duplicates. Rejected for
// what that executor refuses, and for native options, which are Go values. NotSent
// with the database's error if the transaction could not store it. A nil tx is
// [core.ErrInvalid].
func (b *Box) InTx(tx Tx) core.Executor {
	if err := b.usable(tx); err != nil {
		return adapter.Invalid(err)
	}
	if tx == nil {
		return adapter.Invalid(errNilDB)
	}
	own := autocommit(tx)
	return b.executor(!own, func(ctx context.Context, intents []storable) (int, error) {
		n, err := b.insert(ctx, tx, intents, nil)
		if own {
			b.Wake()
			if err != nil && !b.refusedStatement(err) {
				err = fmt.Errorf("%w: %w", core.ErrUnknownOutcome, err)
			}
		}
		return n, err
	})
}

// Capabilities returns what [Box.InTx] does with each option. It is what the
// executor behind the outbox does, except that
//
//   - the outbox keeps intents with a Delay that the executor refuses, or that is
//     longer than it takes, and sends them without Delay when they are due;
//   - native options are refused;
//   - it is Transactional, and a failed INSERT has stored nothing (AtomicBatch). A row
//     is as durable as the database. The declared durability is that of the executor,
//     since the row is deleted when the executor has accepted it;
//   - the order is kept only if the outbox is Ordered and the executor keeps it;
//   - the table remembers no IDs and no unique keys. A second row of the same ID or
//     key is accepted. It is a second dispatch, which the executor recognises as a
//     duplicate within its own window. A chosen ID is therefore Emulated.
//
// If that executor does not answer, every portable option is Emulated, with the
// reason that only the executor knows. A nil or zero Box has no capabilities.
func (b *Box) Capabilities() core.Capabilities {
	if b.usable(nil) != nil {
		return core.Capabilities{}
	}
	return b.capabilities(true)
}

func (b *Box) capabilities(transactional bool) core.Capabilities {
	caps := b.caps.Clone()
	if caps.Options == nil {
		caps.Options = make(map[core.OptionName]core.Claim)
	}
	if !b.asks {
		for _, name := range core.PortableOptions() {
			caps.Options[name] = core.Claim{Support: core.SupportEmulated, Reason: "the executor behind the outbox decides, and does not answer questions"}
		}
	}
	delay := caps.Options[core.OptionDelay]
	if delay.Support == core.SupportRefused {
		delay = core.Claim{Support: core.SupportNative, Reason: "the outbox keeps the intent until it is due"}
	}
	delay.Longest = 0
	caps.Options[core.OptionDelay] = delay
	caps.Options[core.OptionNative] = core.Claim{Reason: "an outbox cannot store Go values"}
	if unique, ok := caps.Options[core.OptionUnique]; ok && unique.Support != core.SupportRefused {
		unique.Reason = strings.TrimPrefix(unique.Reason+"; the executor finds the duplicate when the row is sent, so the call reports Accepted", "; ")
		caps.Options[core.OptionUnique] = unique
	}
	if id := caps.Options[core.OptionID]; id.Support == core.SupportNative {
		id.Support = core.SupportEmulated
		id.Reason = strings.TrimPrefix(id.Reason+"; the executor finds the duplicate when the row is sent, so the call reports Accepted", "; ")
		caps.Options[core.OptionID] = id
	}
	caps.Transactional = transactional
	caps.AtomicBatch = true
	caps.IDWindow = core.Window{}
	if !b.ordered {
		caps.Order = ""
	}
	caps.Refuse = func(in core.Intent) error {
		_, err := b.storable(in, func(in core.Intent) error { return b.target.Check(context.Background(), in) })
		return err
	}
	return caps
}

// storable is an intent as it is stored.
type storable struct {
	core.Intent
	keeps bool  // the outbox keeps it until its delay is over
	part  int64 // its partition, if the outbox is ordered
}

// asStored returns the intent as it comes out of the table: without the function that
// core.NewTask was given.
func asStored(in core.Intent) (core.Intent, error) {
	if in.Func() == nil {
		return in, nil
	}
	data, err := adapter.EncodeIntent(in)
	if err != nil {
		return core.Intent{}, err
	}
	return adapter.DecodeIntent(data)
}

// storable returns the intent as it is stored, or why it is refused. ask is the
// executor's check, or nil if it does not answer.
func (b *Box) storable(in core.Intent, ask func(core.Intent) error) (storable, error) {
	if err := in.Validate(); err != nil {
		return storable{}, err
	}
	if in.Has(core.OptionNative) {
		return storable{}, &core.OptionError{Option: core.OptionNative, Executor: b.caps.Executor, Reason: "an outbox cannot store Go values"}
	}
	if ask == nil {
		return storable{Intent: in}, nil
	}
	stored, err := asStored(in) // that is what a relay will send
	if err != nil {
		return storable{}, err
	}
	keeps := b.asks && in.Has(core.OptionDelay) && b.caps.Options[core.OptionDelay].Support == core.SupportRefused
	if !keeps {
		err := ask(stored)
		if err == nil {
			return storable{Intent: in}, nil
		}
		var refused *core.OptionError
		if keeps = errors.As(err, &refused) && refused.Option == core.OptionDelay; !keeps {
			return storable{}, err
		}
	}
	if err := ask(stored.Without(core.OptionDelay)); err != nil {
		return storable{}, err
	}
	return storable{Intent: in, keeps: true}, nil
}

// storables validates a whole call (duty 3). It returns the answer if anything is
// refused.
func (b *Box) storables(ctx context.Context, intents []core.Intent) ([]storable, error) {
	ask, err := b.target.Checker(ctx)
	if err != nil {
		if len(intents) > 0 {
			err = core.Combine(core.Outcomes(intents, core.Rejected, err))
		}
		return nil, err
	}
	all := make([]storable, len(intents))
	var out []core.Outcome
	for i, in := range intents {
		var err error
		if all[i], err = b.storable(in, ask); err == nil && b.ordered {
			all[i].part, err = b.partitionOf(in)
		}
		if err != nil {
			out = core.Reject(out, intents, i, err)
		}
	}
	return all, core.Combine(out)
}

// executor makes an executor of a function that stores intents. The function
// returns how many it has stored.
func (b *Box) executor(transactional bool, store func(context.Context, []storable) (int, error)) core.Executor {
	capabilities := func() (core.Capabilities, bool) { return b.capabilities(transactional), true }
	check := func(ctx context.Context, intents []core.Intent) error {
		_, err := b.storables(ctx, intents)
		if d := (*core.DispatchError)(nil); len(intents) == 1 && errors.As(err, &d) {
			return d.Outcomes[0].Err
		}
		return err
	}
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx, capabilities, check)
			return nil
		}
		if ctx == nil {
			return core.Combine(core.Outcomes(intents, core.Rejected, errNilContext))
		}
		all, err := b.storables(ctx, intents)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return core.Combine(core.Outcomes(intents, core.NotSent, core.ContextError(ctx)))
		}
		stored, err := store(ctx, all)
		if err == nil {
			return nil
		}
		return b.stored(ctx, intents, stored, err)
	}
}

// stored builds the answer of a call that stored the first n intents and then
// failed. In a transaction nothing is Unknown: a transaction that has lost its
// connection cannot commit.
func (b *Box) stored(ctx context.Context, intents []core.Intent, n int, err error) error {
	err = fmt.Errorf("airlock: outbox: store intents: %w", adapter.Masked(err))
	out := core.Outcomes(intents, core.Accepted, nil)
	state := core.NotSent
	switch {
	case errors.Is(err, core.ErrUnknownOutcome):
		state = core.Unknown
	case errors.Is(err, core.ErrInvalid):
		state = core.Rejected
	}
	for i := range slices.Backward(out[n:]) {
		out[n+i].State, out[n+i].Err = state, err
	}
	adapter.AddContextError(ctx, out)
	return core.Combine(out)
}

// refusedStatement reports that the database has answered a statement with a
// refusal, so that nothing was stored. SQLite has no connection that can be lost.
func (b *Box) refusedStatement(err error) bool {
	return b.dialect == SQLite || sqlstate.RefusedStatement(err)
}
