// All runs the shop of the quickstart on every executor side by side, by default on
// embedded servers. It has the flags of the quickstart, which starts it, and takes
// a minute or two to build the first time: see docs/adopting.md.
package main

import (
	"context"
	"io"
	"os"

	"github.com/goairlock/airlock/examples/quickstart/demo"
)

var executors = map[string]demo.Open{
	"sync":     demo.OpenSync,
	"pool":     demo.OpenPool,
	"asynq":    openAsynq,
	"river":    openRiver,
	"nats":     openNATS,
	"work":     openWork,
	"rabbitmq": openRabbitMQ,
	"celery":   openCelery,
}

func main() {
	if os.Getenv(killedEnv) != "" {
		demo.Main(beKilled)
		return
	}
	demo.Main(run)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	opts, err := demo.Parse(args, "all", errOut)
	switch {
	case err != nil:
		return err
	case opts.Show:
		_, err := io.WriteString(out, demo.PythonWorker)
		return err
	}
	openers := executors
	if opts.Outbox {
		openers = map[string]demo.Open{}
		for name, open := range executors {
			openers[name] = withOutbox(open)
		}
	}
	return demo.Serve(ctx, opts, openers, out, errOut)
}
