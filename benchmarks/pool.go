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
)

// poolGroup measures the pool beside other pools of goroutines: a task that does
// nothing, as many workers each. The others run a func; ours also knows the job
// by its ID, decodes its arguments, bounds, retries and accounts for it.
func poolGroup() Group {
	return Group{
		Name: "pool", Title: "In this process: tasks that do nothing",
		Sizes: []int{1, 100, 1000}, Setup: setupPools,
	}
}

func setupPools(ctx context.Context) ([]Contender, func(), error) {
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
		return nil, nil, err
	}
	noop := core.NewTask("bench.noop", func(context.Context, []byte) error { wg.Done(); return nil }).Codec(core.Raw)
	var intents []core.Intent
	var handlers *core.Registry // intents of core.NewTask bring their own

	antsPool, err := ants.NewPool(workers)
	if err != nil {
		return nil, nil, err
	}
	pondPool := pond.NewPool(workers)
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

	contenders := []Contender{
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
		{Name: "pond, a func for each intent", Prepare: prepareIntents, Wait: wait, HandOver: func(int) error {
			for _, in := range intents { // the caller's slice is not ours to keep
				err := pondPool.Go(func() { handlers.Perform(ctx, in.Delivery()) })
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
	}
	end := func() {
		antsPool.Release()
		pondPool.StopAndWait()
		ours.Stop(ctx) //nolint:errcheck // it is empty
	}
	return contenders, end, nil
}
