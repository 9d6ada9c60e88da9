package mutants

import (
	"errors"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// slotMutants lose slots in places where no check looks for them.
var slotMutants = []Variant{
	queue("panic-takes-a-slot", AnyEnding, "loses a slot with each panic of a handler", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		v := w.registry.Perform(w.ctx, d)
		var pe *core.PanicError
		if errors.As(v.Err, &pe) {
			w.loseSlot(1)
		}
		return v
	}}),
	queue("snooze-takes-a-slot", AnyEnding, "loses a slot with each snooze", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		v := w.registry.Perform(w.ctx, d)
		if v.Action == worker.Snoozed {
			w.loseSlot(1)
		}
		return v
	}}),
	queue("deadline-takes-a-slot", "P14", "loses a slot with each job whose deadline is over", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		v := w.registry.Perform(w.ctx, d)
		if v.Action == worker.Dead && !d.Deadline.IsZero() {
			w.loseSlot(0)
		}
		return v
	}}),
	queue("unknown-task-takes-a-slot", "K11", "loses a slot with each job that no handler knows", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		v := w.registry.Perform(w.ctx, d)
		if v.Action == worker.Parked && d.EnvelopeErr == nil {
			w.loseSlot(0)
		}
		return v
	}}),
}
