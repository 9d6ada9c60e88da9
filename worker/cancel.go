package worker

import "errors"

// ErrCanceled is the cause of the end of a job's context when an operator cancels
// this one run, where the queue has a command for it. The handler's answer counts
// as always, and an ordinary error is a failed attempt, not [Interrupted]. See
// [context.Cause].
var ErrCanceled = errors.New("airlock: the run was canceled")
