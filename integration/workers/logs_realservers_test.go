//go:build realservers

package workers_test

import (
	"log/slog"
	"testing"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func init() { queues["rabbitmq"] = openRabbitMQ }

func openRabbitMQ(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor {
	dial := servers.WireTo(servers.RabbitMQ(t, servers.RabbitMQOptions{}).Addr()).Dial
	must(t, rabbitexec.EnsureQueues(t.Context(), dial, nil, "default"))
	exec, err := rabbitexec.New(dial, &rabbitexec.Options{Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, exec.Close()) })
	w, err := rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{Logger: logger})
	must(t, err)
	run(t, w.Run)
	return exec.Execute
}
