package riverexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
)

// Limits of what River does without one. A connection that is silent, without an
// error, would otherwise hold up a start or a queue for as long as TCP sends again,
// which is a quarter of an hour.
const (
	startLimit = 10 * time.Second // River's own limit for the rest of a start
	fetchLimit = time.Minute
)

// driverState is what the driver of a Worker's client has seen.
type driverState struct {
	jobs *jobWorker

	lost    atomic.Bool // the database does not answer
	once    sync.Once
	fetched chan struct{} // closed at the first fetch
	kinds   []string      // that the client has workers for; written before fetched is closed

	mu    sync.Mutex
	stuck map[int64]stuckJob // that the rescuer is looking at; guarded by mu
}

// noteLost logs that the database does not answer, unless it has been logged.
func (s *driverState) noteLost(err error) {
	if !s.lost.Swap(true) {
		adapter.LogLost(s.jobs.log(), name, slog.String("error", adapter.ErrorText(err, maxErrorText)))
	}
}

// noteBack logs that the database answers again.
func (s *driverState) noteBack() {
	if s.lost.Swap(false) {
		adapter.LogBack(s.jobs.log(), name)
	}
}

// wrapDriver returns a driver that notes what the client does in state, and corrects
// River where a worker would stop or lose jobs.
func wrapDriver[TTx any](driver riverdriver.Driver[TTx], state *driverState) riverdriver.Driver[TTx] {
	d := workerDriver[TTx]{driver, state}
	if p, ok := driver.(plugin); ok { // of River Pro
		return pluginDriver[TTx]{d, p}
	}
	return d
}

type workerDriver[TTx any] struct {
	riverdriver.Driver[TTx]
	state *driverState
}

func (d workerDriver[TTx]) GetExecutor() riverdriver.Executor {
	return workerExecutor{d.Driver.GetExecutor(), d.state}
}

func (d workerDriver[TTx]) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return workerListener{d.Driver.GetListener(params)}
}

// plugin is an optional interface of drivers (river v0.51.1, driverPlugin).
type plugin interface {
	PluginInit(archetype *baseservice.Archetype)
	PluginPilot() riverpilot.Pilot
}

type pluginDriver[TTx any] struct {
	workerDriver[TTx]
	plugin
}

type workerExecutor struct {
	riverdriver.Executor
	state *driverState
}

// Ping is the first statement of a start.
func (e workerExecutor) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return e.Executor.Ping(ctx)
}

// InitDriver is the second statement of a start.
func (e workerExecutor) InitDriver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return e.Executor.InitDriver(ctx)
}

// QueueCreateOrSetUpdatedAt announces a queue at the start and later.
func (e workerExecutor) QueueCreateOrSetUpdatedAt(ctx context.Context, params *riverdriver.QueueCreateOrSetUpdatedAtParams) (*rivertype.Queue, error) {
	queue, err := e.Executor.QueueCreateOrSetUpdatedAt(ctx, params)
	return queue, startError(ctx, err)
}

// JobGetAvailable fetches jobs for the client's queues.
func (e workerExecutor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	res, err := e.Executor.JobGetAvailable(ctx, params)
	if err != nil {
		e.state.noteLost(err)
		return res, err
	}
	e.state.noteBack()
	e.state.once.Do(func() {
		e.state.kinds = slices.Clone(params.Kind)
		close(e.state.fetched)
	})
	return res, nil
}

// workerListener is the connection that waits for notifications.
type workerListener struct{ riverdriver.Listener }

func (l workerListener) Connect(ctx context.Context) error {
	return startError(ctx, l.Listener.Connect(ctx))
}

func (l workerListener) Listen(ctx context.Context, topic string) error {
	return startError(ctx, l.Listener.Listen(ctx, topic))
}

// startError returns err in a form in which River reports it. River v0.51.1 takes
// "conn closed" at the end of an error, and context.Canceled, for its own shutdown
// (producer.StartWorkContext and Elector.Start). If a connection breaks during a
// start, Client.Start then returns nil although a queue is never worked, or no leader
// ever elected.
func startError(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("airlock: river: %s; the start failed", adapter.ErrorText(err, maxErrorText))
	case strings.HasSuffix(err.Error(), "conn closed"):
		return fmt.Errorf("airlock: river: %w; the start failed", err)
	}
	return err
}
