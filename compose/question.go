package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// answer answers the question that ctx holds, if it holds one: see [core.Answer].
type answer func(ctx context.Context)

// passOn passes questions on to exec. It is for a wrapper that sends every
// intent, unchanged, to exec.
func passOn(exec core.Executor) answer {
	return func(ctx context.Context) {
		// The answer "it does not say" holds unless exec gives another one. A call
		// without a question does not reach exec.
		if core.Answer(ctx, nil, nil) {
			_ = exec(ctx)
		}
	}
}

// answerWith answers with functions of the wrapper's own. check may be called
// without intents: then it returns what is wrong with the executors below.
func answerWith(caps func() (core.Capabilities, bool), check dispatch) answer {
	return func(ctx context.Context) { core.Answer(ctx, caps, check) }
}

// mistake answers for a wrapper that was made with bad arguments.
func mistake(bad error) answer {
	return answerWith(nil, func(context.Context, []core.Intent) error { return bad })
}
