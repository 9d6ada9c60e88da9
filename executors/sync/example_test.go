package syncexec_test

import (
	"context"
	"fmt"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	syncexec "github.com/goairlock/airlock/executors/sync"
	"github.com/goairlock/airlock/worker"
)

func Example() {
	greet := core.DeclareTask[string]("demo.greet", core.MaxAttempts(3))
	reg, err := worker.NewRegistry(worker.Handle(greet, func(ctx context.Context, name string) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Printf("attempt %d of %d: hello, %s\n", job.Attempt, job.MaxAttempts, name)
		return nil
	}))
	if err != nil {
		panic(err)
	}
	exec, err := syncexec.New(&syncexec.Options{Registry: reg})
	if err != nil {
		panic(err)
	}
	err = airlock.Run(context.Background(), exec.Execute, func(ctx context.Context) error {
		err := airlock.Enqueue(ctx, greet, "Ada")
		fmt.Println("enqueued, and nothing has run yet")
		return err
	})
	fmt.Println("error:", err)
	// Output:
	// enqueued, and nothing has run yet
	// attempt 1 of 3: hello, Ada
	// error: <nil>
}
