// Package queue opens the queue that a flag names. The rest of the service does not
// know which one it is.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Runner is a worker. Run works until ctx ends, and then drains.
type Runner interface {
	Run(ctx context.Context) error
}

// Queue is an open queue.
type Queue struct {
	Executor core.Executor
	// Check says what about the server would lose jobs.
	Check func(ctx context.Context) error
	// Worker returns a worker of these queues.
	Worker func(reg *worker.Registry, queues []string) (Runner, error)
	close  []func()
}

// Close closes the clients. Call it when workers and requests have ended.
func (q *Queue) Close() {
	for _, end := range slices.Backward(q.close) {
		end()
	}
}

// Config is what opening a queue needs.
type Config struct {
	URL    string        // of the queue's server; River needs none
	DB     *pgxpool.Pool // of the service; River keeps its jobs there
	Queues []string      // that must exist
	Logger *slog.Logger
}

var kinds = map[string]func(ctx context.Context, c Config) (*Queue, error){
	"asynq": openAsynq, "river": openRiver, "nats": openNATS, "work": openWork, "rabbitmq": openRabbitMQ,
}

// Names are the values of the flag -queue.
func Names() string { return strings.Join(slices.Sorted(maps.Keys(kinds)), ", ") }

// Open opens a queue.
func Open(ctx context.Context, name string, c Config) (*Queue, error) {
	open, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("queue %q, want one of %s", name, Names())
	}
	if c.URL == "" && name != "river" {
		return nil, errors.New("no QUEUE_URL for " + name)
	}
	q, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", name, err)
	}
	return q, nil
}
