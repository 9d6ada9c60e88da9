package otel_test

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func openNATS(e *testEnv, reg *worker.Registry) core.Executor {
	conn, err := nats.Connect(servers.NATS(e.T, servers.NATSOptions{Private: true}).URL())
	e.must(err)
	e.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	e.must(err)
	e.must(natsexec.EnsureStream(e.Context(), js, "JOBS", nil))
	exec, err := natsexec.New(e.Context(), js, "JOBS", nil)
	e.must(err)
	w, err := natsexec.NewWorker(js, "JOBS", reg, &natsexec.WorkerOptions{Logger: quiet, DrainTimeout: 1})
	e.must(err)
	e.start(w)
	return exec.Execute
}
