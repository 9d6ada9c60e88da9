package core

import (
	"context"
	"sync"
)

// Capabilities returns what the executor does with each option. ok is false if the
// executor does not answer, as a plain function does not. The result belongs to
// the caller.
//
// It calls e without intents and with a context that holds the question. Nothing
// is dispatched. See [Answer].
func (e Executor) Capabilities() (caps Capabilities, ok bool) {
	q := question{Context: context.Background(), kind: asksCapabilities}
	if e == nil || !q.ask(e) || q.answer.caps == nil {
		return Capabilities{}, false
	}
	return *q.answer.caps, true
}

// Check returns the error with which a dispatch of these intents would be refused,
// without dispatching them. It returns nil if none would be refused, or if the
// executor does not answer. An executor may still refuse a dispatch for reasons
// that it cannot know before. Without intents Check reports what is wrong with the
// executor itself, such as a wrapper around nil. A nil Executor or context is
// [ErrInvalid].
//
// It calls e without intents and with a context that holds the question. Nothing
// is dispatched. See [Answer].
func (e Executor) Check(ctx context.Context, intents ...Intent) error {
	if ctx == nil {
		return errNilContext
	}
	if e == nil {
		return errNilExecutor
	}
	q := question{Context: ctx, kind: asksCheck, intents: intents}
	if !q.ask(e) {
		return nil
	}
	return q.answer.refusal
}

// Checker returns a function that does what [Executor.Check] does for one intent
// under ctx, without the cost of a question for each intent. It is for code that
// asks about many intents, such as a scope. The function is safe for concurrent
// use.
//
// Checker asks e once, without intents. err is what is wrong with the executor
// itself. check is the function that e gave to [Answer]; it is nil if e does not
// answer. So a function that passes questions on, and later passes calls to another
// executor, needs a new Checker.
func (e Executor) Checker(ctx context.Context) (check func(in Intent) error, err error) {
	if ctx == nil {
		return nil, errNilContext
	}
	if e == nil {
		return nil, errNilExecutor
	}
	q := question{Context: ctx, kind: asksCheck}
	if !q.ask(e) || q.answer.refusal != nil || q.answer.check == nil {
		return nil, q.answer.refusal
	}
	ask := q.answer.check
	return func(in Intent) error { return checkOne(ctx, ask, in) }, nil
}

// checkOne calls check. A panic is no answer, as in ask.
func checkOne(ctx context.Context, check func(context.Context, []Intent) error, in Intent) (refusal error) {
	one := singles.Get().(*[1]Intent)
	defer func() {
		if recover() != nil {
			refusal = nil
			return
		}
		one[0] = Intent{}
		singles.Put(one)
	}()
	one[0] = in
	return check(ctx, one[:])
}

// singles spares checkOne an allocation: an intent has about 200 bytes.
var singles = sync.Pool{New: func() any { return new([1]Intent) }}

// Answer answers the question that ctx holds and reports whether it holds one.
// An executor calls it when it is called without intents:
//
//	if len(intents) == 0 {
//		core.Answer(ctx, capabilities, check)
//		return nil
//	}
//
// For [Executor.Capabilities] it calls caps, which must return a copy that the
// caller may change. For [Executor.Check] it calls check with the intents of the
// question and the asker's context. If caps or check is nil, the executor does not
// answer that question. Guard in package adapter does all this.
//
// [Executor.Checker] keeps check. So check must be safe for concurrent use, must not
// keep the intents, and may be called after the call has returned.
//
// A wrapper that sends every intent unchanged to one executor passes ctx on to it.
// A wrapper that chooses between executors, or changes intents, calls Answer and
// asks the executors in its caps and check. An answer that comes after the call
// has returned is ignored.
func Answer(ctx context.Context, caps func() (Capabilities, bool), check func(ctx context.Context, intents []Intent) error) bool {
	if ctx == nil {
		return false
	}
	q, ok := ctx.Value(questionKey{}).(*question)
	if !ok {
		return false
	}
	var a answer
	switch {
	case q.kind == asksCapabilities && caps != nil:
		if c, ok := caps(); ok {
			a.caps = &c
		}
	case q.kind == asksCheck && check != nil:
		a.refusal, a.check = check(q.Context, q.intents), check
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.over {
		q.answer, q.answered = a, true
	}
	return true
}

type questionKind uint8

const (
	asksCapabilities questionKind = iota
	asksCheck
)

// question is a context and the question that it holds, in one allocation.
type question struct {
	context.Context
	kind    questionKind
	intents []Intent // of a Check

	mu       sync.Mutex
	over     bool   // guarded by mu: the call has returned
	answered bool   // guarded by mu
	answer   answer // guarded by mu until over
}

// answer is the answer to a question. The zero value is no capabilities and no
// refusal.
type answer struct {
	caps    *Capabilities // nil if the executor does not answer
	refusal error
	check   func(ctx context.Context, intents []Intent) error // that gave the refusal
}

type questionKey struct{}

func (q *question) Value(key any) any {
	if key == (questionKey{}) {
		return q
	}
	return q.Context.Value(key)
}

// ask calls e and reports whether it answered. A function that does not know about
// questions may panic or return an error when it is called without intents. That
// is no answer.
func (q *question) ask(e Executor) bool {
	func() {
		defer func() { _ = recover() }()
		_ = e(q)
	}()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	return q.answered
}
