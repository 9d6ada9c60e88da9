package core_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/core"
)

// An executor that can be asked. Guard in package adapter does this for any function.
func ExampleAnswer() {
	caps := core.Capabilities{Executor: "printer", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.SupportNative}, core.OptionMaxAttempts: {Reason: "paper is patient"},
	}}
	var printer core.Executor = func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx,
				func() (core.Capabilities, bool) { return caps.Clone(), true },
				func(_ context.Context, intents []core.Intent) error {
					for _, in := range intents {
						if err := caps.Check(in); err != nil {
							return err
						}
					}
					return nil
				})
			return nil
		}
		return caps.CheckCall(intents) // and print them
	}
	answer, ok := printer.Capabilities()
	fmt.Println(answer.Executor, ok)
	in, _ := SendReceipt.Intent(Receipt{Order: 7})
	fmt.Println(printer.Check(context.Background(), in))
	// Output:
	// printer true
	// airlock: printer refuses option max-attempts: paper is patient
}

// An executor collects the outcome of each intent and combines them.
func ExampleCombine() {
	post := func(in core.Intent) error {
		if in.Options.Queue == "" {
			return core.ErrUnavailable
		}
		return nil
	}
	exec := func(_ context.Context, intents ...core.Intent) error {
		outcomes := make([]core.Outcome, len(intents))
		for i := range intents {
			outcomes[i] = intents[i].Outcome(core.Accepted, nil)
			if err := post(intents[i]); err != nil {
				outcomes[i] = intents[i].Outcome(core.NotSent, err)
			}
		}
		return core.Combine(outcomes)
	}
	mail, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	none, _ := core.DeclareTask[int]("stock.count").Intent(1, core.ID("count-1"))
	fmt.Println(exec(context.Background(), mail))
	fmt.Println(exec(context.Background(), mail, none))
	// Output:
	// <nil>
	// airlock: dispatch: 1 of 2 intents not accepted (1 not sent), first stock.count count-1: not sent: backend unavailable
}

// The cause says who ended the context. errors.Is finds both.
func ExampleContextError() {
	errShutdown := errors.New("the server shuts down")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errShutdown)
	err := core.ContextError(ctx)
	fmt.Println(err)
	fmt.Println(errors.Is(err, context.Canceled), errors.Is(err, errShutdown))
	// Output:
	// context canceled: the server shuts down
	// true true
}

// What a caller does with an error of an executor.
func ExampleDispatchError() {
	first, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	second, _ := SendReceipt.Intent(Receipt{Order: 8}, core.ID("receipt-8"))
	err := core.Combine([]core.Outcome{
		first.Outcome(core.NotSent, core.ErrUnavailable),
		second.Outcome(core.Rejected, core.ErrTooLarge),
	})
	var de *core.DispatchError
	if errors.As(err, &de) {
		for _, o := range de.Outcomes {
			fmt.Println(o.ID, o.State, o.Err)
		}
	}
	fmt.Println(errors.Is(err, core.ErrTooLarge), errors.Is(err, core.ErrNotSent)) // of the worst state alone
	// Output:
	// receipt-7 not sent backend unavailable
	// receipt-8 rejected too large
	// true false
}

// An executor in this process that has no function for a task.
func ExampleNoHandlerError() {
	handlers := map[string]func(){"email.receipt": func() {}}
	lookup := func(task string) error {
		if handlers[task] == nil {
			return core.NoHandlerError(task)
		}
		return nil
	}
	err := lookup("email.invoice")
	fmt.Println(err)
	fmt.Println(errors.Is(err, core.ErrNoHandler))
	// Output:
	// airlock: no handler for task "email.invoice"
	// true
}

// Keep what can be sent again.
func ExampleOutcome() {
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	intents := []core.Intent{in}
	err := fmt.Errorf("redis: %w", core.ErrUnavailable) // the answer of an executor

	var again []core.Intent
	for i, o := range core.OutcomesOf(err, intents) {
		fmt.Println(o.Task, o.ID, "on", o.Queue, "is", o.State)
		if o.State == core.NotSent {
			again = append(again, intents[i])
		}
	}
	fmt.Println(len(again))
	// Output:
	// email.receipt receipt-7 on mail is not sent
	// 1
}

// A statement that stores all intents or none.
func ExampleOutcomes() {
	errConflict := errors.New("serialization failure")
	insert := func(_ context.Context, intents ...core.Intent) error {
		return core.Combine(core.Outcomes(intents, core.NotSent, errConflict)) // it was rolled back
	}
	first, _ := SendReceipt.Intent(Receipt{Order: 7})
	second, _ := SendReceipt.Intent(Receipt{Order: 8})
	err := insert(context.Background(), first, second)
	fmt.Println(errors.Is(err, core.ErrNotSent), errors.Is(err, errConflict))
	// Output: true true
}

// A handler's panic is an error. The text has no stack.
func ExamplePanicError() {
	render := core.NewTask("page.render", func(context.Context, string) error {
		panic("no template")
	})
	in, _ := render.Intent("home")
	var p *core.PanicError
	if err := in.Run(context.Background()); errors.As(err, &p) {
		fmt.Println(p.Value, len(p.Stack) > 0) // a program logs string(p.Stack)
	}
	// Output: no template true
}

// One refused intent refuses the call, before anything is sent.
func ExampleReject() {
	exec := func(_ context.Context, intents ...core.Intent) error {
		var refused []core.Outcome
		for i := range intents {
			if len(intents[i].Payload()) > 30 {
				refused = core.Reject(refused, intents, i, core.ErrTooLarge)
			}
		}
		if refused != nil {
			return core.Combine(refused)
		}
		return nil // send them
	}
	small, _ := SendReceipt.Intent(Receipt{Order: 7})
	large, _ := SendReceipt.Intent(Receipt{Order: 8, To: "somebody.with.a.long.name@example.com"})
	intents := []core.Intent{small, large}
	for _, o := range core.OutcomesOf(exec(context.Background(), intents...), intents) {
		fmt.Println(o.State, o.Err)
	}
	// Output:
	// not sent airlock: another intent of the call was refused
	// rejected too large
}

// brokenError is the error of a library: its Is method needs a value.
type brokenError struct{ code *int }

func (e *brokenError) Error() string        { return fmt.Sprint("code ", *e.code) }
func (e *brokenError) Is(target error) bool { return *e.code == 404 && target == core.ErrInvalid }

// Code that calls functions of others must not panic because of their errors.
func ExampleSound() {
	var none *brokenError // a nil pointer in an error
	err := core.Sound(none)
	fmt.Println(errors.Is(err, core.ErrInvalid))
	var p *core.PanicError
	fmt.Println(errors.As(err, &p))
	fmt.Println(core.Sound(core.ErrClosed) == core.ErrClosed) // almost every error is returned as it is
	// Output:
	// false
	// true
	// true
}

// What a program does with an intent, by the state of its outcome.
func ExampleState() {
	next := func(s core.State) string {
		switch s {
		case core.Accepted, core.Duplicate:
			return "done: there is a job"
		case core.NotSent:
			return "send it again"
		case core.Unknown:
			return "send it again, under the same ID"
		case core.Rejected, core.Failed:
			return "report it"
		}
		return ""
	}
	for _, s := range []core.State{core.Accepted, core.NotSent, core.Unknown, core.Rejected} {
		fmt.Printf("%v: %s\n", s, next(s))
	}
	// Output:
	// accepted: done: there is a job
	// not sent: send it again
	// unknown: send it again, under the same ID
	// rejected: report it
}

// A key that a client sends becomes the job's ID only if it can be one.
func ExampleValidateID() {
	for _, key := range []string{"5f0c-22", "two words", ""} {
		fmt.Println(core.ValidateID(key) == nil)
	}
	// Output:
	// true
	// false
	// false
}

type userKey struct{}

// A handler that works on every queue finds nothing of the producer in its context.
func ExampleWithoutValues() {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), userKey{}, "ada"))
	job := core.WithoutValues(ctx)
	cancel()
	fmt.Println(job.Value(userKey{}), job.Err())
	// Output: <nil> context canceled
}
