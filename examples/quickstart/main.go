// Quickstart is a small shop that checks out orders from a JSON file, on several
// executors side by side. The jobs of an order are sent only if its checkout succeeds.
// At the end, a table shows that no job was lost and that none ran twice.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -executor pool -orders my-orders.json
//	go run ./examples/quickstart -executor all
//	go run ./examples/quickstart -executor river,asynq -outbox
//
// The executors sync and pool are in this program, which needs the standard library
// alone. For the other ones it builds and starts the program in the folder all.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/goairlock/airlock/examples/quickstart/demo"
)

// other is the program with every executor.
const other = "github.com/goairlock/airlock/examples/quickstart/all"

var executors = map[string]demo.Open{
	"sync": demo.OpenSync,
	"pool": demo.OpenPool,
}

func main() { demo.Main(run) }

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	opts, err := demo.Parse(args, "sync,pool", errOut)
	switch {
	case err != nil:
		return err
	case opts.Show:
		_, err := io.WriteString(out, demo.PythonWorker)
		return err
	case opts.Outbox || slices.ContainsFunc(opts.Executors, func(name string) bool { return executors[name] == nil }):
		return startOther(ctx, append([]string{"-executor", strings.Join(opts.Executors, ",")}, args...), out, errOut)
	}
	if err := demo.Serve(ctx, opts, executors, out, errOut); err != nil {
		return err
	}
	if len(args) == 0 {
		fmt.Fprintln(out, "\nNow the queues, on embedded servers (the first build takes a minute or two): go run ./examples/quickstart -executor all")
	}
	return nil
}

// startOther runs the program with every executor.
func startOther(ctx context.Context, args []string, out, errOut io.Writer) error {
	fmt.Fprintln(errOut, "Building the program with every executor. The first time, this downloads 111 MB and compiles\n"+
		"SQLite, a NATS server and more, which takes a minute or two.")
	cmd := exec.Command("go", append([]string{"run", other}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, errOut
	err := cmd.Run() // not ended with ctx: an interrupt reaches it too
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return demo.ErrInterrupted
	case errors.As(err, &exit):
		return errors.New("the program with every executor has failed, see above")
	}
	return err
}
