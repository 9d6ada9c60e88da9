package main

import (
	"context"
	"runtime"
	"sync"

	"github.com/alitto/pond/v2"
	"github.com/panjf2000/ants/v2"
	"github.com/sourcegraph/conc/pool"
	"golang.org/x/sync/errgroup"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

// poolGroup compares the pool with other pools of goroutines, all with the same number
// of workers, on a task that does nothing. The others run a function. Ours also
// remembers the job's ID, decodes its arguments, limits and retries its attempts, and
// logs its runs.
func poolGroup() Group {
	return Group{
		Name: "pool", Queue: "pool", Title: "In this process: tasks that do nothing",
		Libraries: []string{"github.com/alitto/pond/v2", "github.com/panjf2000/ants/v2", "github.com/sourcegraph/conc", "golang.org/x/sync"},
		Sizes:     []int{1, 100, 1000}, Setup: setupPools,
	}
}

func setupPools(ctx context.Context, w *world) ([]Contender, error) {
	workers := 4 * runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	task := func() { wg.Done() }
	prepare := func(n int) error { wg.Add(n); return nil }
	wait := func() error { wg.Wait(); return nil }
	loop := func(submit func()) func(int) error {
		return func(n int) error {
			for range n {
				submit()
			}
			return nil
		}
	}

	ours, err := poolexec.New(&poolexec.Options{Workers: workers})
	if err != nil {
		return nil, err
	}
	noop := core.NewTask("bench.noop", func(context.Context, []byte) error { wg.Done(); return nil }).Codec(core.Raw)
	var intents []core.Intent
	var handlers *worker.Registry // nil: the intents of core.NewTask have their handler

	antsPool, err := ants.NewPool(workers)
	if err != nil {
		return nil, err
	}
	pondPool := pond.NewPool(workers)
	w.Cleanup(func() {
		antsPool.Release()
		pondPool.StopAndWait()
		ours.Stop(ctx) //nolint:errcheck // it is empty
	})
	semaphore := make(chan struct{}, workers)
	var concPool *pool.Pool
	var group *errgroup.Group

	prepareIntents := func(n int) error {
		intents = intents[:0]
		for range n {
			in, err := noop.Intent(nil)
			if err != nil {
				return err
			}
			intents = append(intents, in)
		}
		return prepare(n)
	}

	return []Contender{
		{
			Name: "airlock pool", Prepare: prepareIntents,
			HandOver: func(int) error { return ours.Execute(ctx, intents...) },
			Wait:     wait,
		},
		{
			Name: "goroutine and semaphore", Reference: true, Prepare: prepare, Wait: wait,
			HandOver: loop(func() {
				semaphore <- struct{}{}
				go func() {
					task()
					<-semaphore
				}()
			}),
		},
		{Name: "ants", Prepare: prepare, Wait: wait, HandOver: func(n int) error {
			for range n {
				if err := antsPool.Submit(task); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "pond", Prepare: prepare, Wait: wait, HandOver: func(n int) error {
			for range n {
				if err := pondPool.Go(task); err != nil {
					return err
				}
			}
			return nil
		}},
		// The fair comparison: a pool that carries intents and runs them with Perform.
		{Name: "pond, a func for each intent", Prepare: prepareIntents, Wait: wait, HandOver: func(int) error {
			for _, in := range intents { // a copy: the slice belongs to the caller
				err := pondPool.Go(func() { handlers.Perform(ctx, worker.FirstDelivery(&in)) })
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{
			Name:    "conc",
			Prepare: func(n int) error { concPool = pool.New().WithMaxGoroutines(workers); return prepare(n) },
			HandOver: func(n int) error {
				for range n {
					concPool.Go(task)
				}
				return nil
			},
			Wait: func() error { concPool.Wait(); return nil },
		},
		{
			Name:    "errgroup",
			Prepare: func(n int) error { group = new(errgroup.Group); group.SetLimit(workers); return prepare(n) },
			HandOver: loop(func() {
				group.Go(func() error { task(); return nil })
			}),
			Wait: func() error { return group.Wait() },
		},
	}, nil
}
