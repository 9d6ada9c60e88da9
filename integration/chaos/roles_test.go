//go:build realservers

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// The environment of a child process says what it does.
const (
	roleVariable  = "AIRLOCK_CHAOS_ROLE"  // producer, worker or burner
	queueVariable = "AIRLOCK_CHAOS_QUEUE" // a key of queues
	urlVariable   = "AIRLOCK_CHAOS_URL"   // of the queue's server
	fileVariable  = "AIRLOCK_CHAOS_FILE"  // the ledger
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := play(ctx, role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func play(ctx context.Context, role string) error {
	if role == "burner" {
		for ctx.Err() == nil { // takes all the time it gets from the scheduler
		}
		return nil
	}
	file, err := openLedger(os.Getenv(fileVariable))
	if err != nil {
		return err
	}
	q, url := queues[os.Getenv(queueVariable)], os.Getenv(urlVariable)
	if role == "producer" {
		return produce(ctx, q, url, file)
	}
	return work(ctx, q, url, file)
}

// job is failed by its first attempt one time in ten.
var job = core.DeclareTask[int]("chaos.job", core.Backoff(core.Fixed(time.Second)))

// produce sends intents until ctx ends, and then what was not accepted so far.
func produce(ctx context.Context, q queue, url string, l *ledger) error {
	var exec core.Executor
	for exec == nil { // the server may be away
		var err error
		if exec, err = q.executor(ctx, url); err != nil {
			if ctx.Err() != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	var batch []core.Intent
	for ctx.Err() == nil || len(batch) > 0 {
		for limit := 1 + rand.IntN(20); len(batch) < limit && ctx.Err() == nil; {
			in, err := job.Intent(os.Getpid())
			if err != nil {
				return err
			}
			batch = append(batch, in)
			l.write("try", in.ID, 0)
		}
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		err := exec(call, batch...)
		cancel()
		var again []core.Intent
		for i, o := range core.OutcomesOf(err, batch) {
			switch o.State {
			case core.Accepted, core.Duplicate:
				l.write("accepted", o.ID, 0)
			case core.Rejected, core.Failed:
				return fmt.Errorf("refused: %w", o.Err)
			default:
				if o.State == core.Unknown {
					l.write("unknown", o.ID, 0)
				}
				again = append(again, batch[i])
			}
		}
		batch = again
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
	}
	return nil
}

var errFirst = errors.New("the first attempt fails")

// work runs jobs until ctx ends, and starts again if the server is away.
func work(ctx context.Context, q queue, url string, l *ledger) error {
	reg, err := worker.NewRegistry(worker.Handle(job, func(ctx context.Context, _ int) error {
		j, _ := worker.JobFrom(ctx)
		l.write("begin", j.ID, j.Attempt)
		time.Sleep(time.Duration(1+rand.IntN(10)) * time.Millisecond)
		hash := fnv.New32a()
		hash.Write([]byte(j.ID))
		if j.Attempt == 1 && hash.Sum32()%10 == 0 {
			l.write("fail", j.ID, j.Attempt)
			return errFirst
		}
		l.write("end", j.ID, j.Attempt)
		return nil
	}))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for ctx.Err() == nil {
		run, err := q.worker(url, reg, logger)
		if err == nil {
			err = run(ctx)
		}
		if err != nil {
			logger.Error("chaos: worker", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}
