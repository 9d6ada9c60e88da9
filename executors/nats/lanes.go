package natsexec

import (
	"context"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/adapter"
)

// A lane is the second token of a job's subject. Each has a consumer of its own.
const (
	laneNormal = "job"
	laneHigh   = "high"
	laneLow    = "low"
)

// lanes are the lanes, the higher first, with their shares.
var lanes = []struct {
	kind   string
	weight int
}{{laneHigh, 6}, {laneNormal, 3}, {laneLow, 1}}

// laneOf returns the lane for a job of this priority, 0 for none.
func laneOf(priority int) string {
	switch adapter.LaneOf(priority) {
	case adapter.LaneHigh:
		return laneHigh
	case adapter.LaneLow:
		return laneLow
	}
	return laneNormal
}

// durableOf is the name of the consumer of a queue's lane. No queue's native name has
// two dashes in a row.
func durableOf(native, kind string) string {
	if kind == laneNormal {
		return native
	}
	return native + "--" + kind
}

const (
	lanesAfter = time.Minute     // how often a worker without lanes looks for jobs in them
	lanesAgain = 2 * time.Second // and again if nobody seems to serve one
)

// watchLanes logs once if jobs wait in lanes that no worker serves: a producer has
// Options.Lanes on, and this worker has not.
func (w *Worker) watchLanes(ctx context.Context) {
	if w.opts.Lanes {
		return
	}
	for {
		suspect := w.unservedLanes(ctx)
		pause := lanesAfter
		if len(suspect) > 0 { // its worker may be between two requests
			pause = lanesAgain
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if len(suspect) == 0 {
			continue
		}
		again := w.unservedLanes(ctx)
		logged := false
		for subject, queue := range suspect {
			if _, still := again[subject]; still {
				logged = true
				w.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "airlock: nats: jobs in lanes that this worker does not serve: set WorkerOptions.Lanes",
					slog.String("queue", queue), slog.String("subject", subject))
			}
		}
		if logged {
			return
		}
	}
}

// unservedLanes returns the subjects of lanes in which jobs wait that no worker fetches,
// with the names of their queues. What cannot be found out is not unserved.
func (w *Worker) unservedLanes(ctx context.Context) map[string]string {
	unserved := map[string]string{}
	for _, s := range w.sources {
		for _, kind := range []string{laneHigh, laneLow} {
			subject := w.stream + "." + kind + "." + s.native + ".>"
			there, err := holds(ctx, w.conn, w.api, w.stream, subject)
			if err == nil && there && !w.served(ctx, durableOf(s.native, kind)) {
				unserved[subject] = s.queue
			}
		}
	}
	return unserved
}
