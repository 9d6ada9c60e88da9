package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

var openers = map[string]Open{"sync": OpenSync, "pool": OpenPool}

// serve runs the shop and returns what it prints and returns.
func serve(t *testing.T, openers map[string]Open, args ...string) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	opts, err := Parse(append([]string{"-late", "1m"}, args...), "sync,pool", &e)
	if err == nil {
		err = Serve(t.Context(), opts, openers, &o, &e)
	}
	return o.String(), e.String(), err
}

// table returns the rows that the program prints, without the time.
func table(t *testing.T, out string) []string {
	t.Helper()
	_, rows, ok := strings.Cut(out, "  executor  orders  ")
	if !ok {
		t.Fatalf("no table in:\n%s", out)
	}
	var table []string
	for row := range strings.Lines(rows) {
		fields := strings.Fields(row)
		table = append(table, strings.Join(fields[:len(fields)-1], " "))
	}
	return table[1:]
}

func TestTheShopOnSyncAndPool(t *testing.T) {
	t.Parallel()
	out, errOut, err := serve(t, openers)
	if err != nil || errOut != "" {
		t.Fatalf("%v, %s\n%s", err, errOut, out)
	}
	// 6 orders of which 2 are declined: 4 × (pick, receipt, review, label);
	// discarded are the 2 × 3 that the declined ones asked for.
	if want := []string{"sync 6 4 16 16 6 0 0 0", "pool 6 4 16 16 6 0 0 0"}; !slices.Equal(table(t, out), want) {
		t.Errorf("rows %q, want %q\n%s", table(t, out), want, out)
	}
	if regexp.MustCompile(`email.*A-100[25]`).MatchString(out) {
		t.Errorf("work of a declined order was done:\n%s", out)
	}
	for _, line := range []string{"pool      order A-1002: card declined, nothing leaves\n", "sync        warehouse.label  order A-1001\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}

// faulty is the pool with an executor that does something else with the jobs of a task.
// The executor again does a job at once.
func faulty(task string, other func(ctx context.Context, exec, again core.Executor, in core.Intent) error) map[string]Open {
	with := maps.Clone(openers)
	with["pool"] = func(ctx context.Context, run *Run) (*Queue, error) {
		again, err := OpenSync(ctx, run)
		if err != nil {
			return nil, err
		}
		q, err := OpenPool(ctx, run)
		if err != nil {
			return nil, err
		}
		exec := q.Exec
		q.Exec = func(ctx context.Context, intents ...core.Intent) error {
			for _, in := range intents {
				if in.Task != task {
					if err := exec(ctx, in); err != nil {
						return err
					}
				} else if err := other(ctx, exec, again.Exec, in); err != nil {
					return err
				}
			}
			return nil
		}
		return q, nil
	}
	return with
}

func TestAnExecutorThatIsWrongIsAnError(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		task      string
		wrong     func(ctx context.Context, exec, again core.Executor, in core.Intent) error
		row, says string
	}{
		"loses": {
			"email.review",
			func(context.Context, core.Executor, core.Executor, core.Intent) error { return nil },
			"pool 6 4 16 12 6 4 0 0", "pool: jobs that have not run: 4",
		},
		"doubles": {
			"email.receipt",
			func(ctx context.Context, exec, again core.Executor, in core.Intent) error {
				return errors.Join(exec(ctx, in), again(ctx, in))
			},
			"pool 6 4 16 20 6 0 4 0", "pool: jobs that ran twice: 4",
		},
		"is early": {
			"email.review",
			func(ctx context.Context, exec, _ core.Executor, in core.Intent) error {
				return exec(ctx, in.Without(core.OptionDelay))
			},
			"pool 6 4 16 16 6 0 0 4", "pool: jobs that ran too early or too late: 4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait := time.Minute
			if name == "loses" {
				wait = 3 * time.Second
			}
			out, _, err := serve(t, faulty(tc.task, tc.wrong), "-wait", wait.String())
			if err == nil || err.Error() != tc.says {
				t.Errorf("error %v, want %s", err, tc.says)
			}
			if want := []string{"sync 6 4 16 16 6 0 0 0", tc.row}; !slices.Equal(table(t, out), want) {
				t.Errorf("rows %q, want %q\n%s", table(t, out), want, out)
			}
		})
	}
}

func TestAnExecutorThatCannotBeOpenedLeavesTheOthers(t *testing.T) {
	t.Parallel()
	broken := errors.New("no server")
	out, _, err := serve(t, map[string]Open{
		"sync": OpenSync,
		"pool": func(context.Context, *Run) (*Queue, error) { return nil, broken },
	})
	if !errors.Is(err, broken) || err.Error() != "pool: no server" {
		t.Errorf("error %v", err)
	}
	if want := []string{"sync 6 4 16 16 6 0 0 0", "pool 6 0 0 0 0 0 0 0"}; !slices.Equal(table(t, out), want) {
		t.Errorf("rows %q, want %q", table(t, out), want)
	}
}

func TestAnInterruptFinishesWhatWasSent(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	var out bytes.Buffer
	opts, err := Parse([]string{"-executor", "pool"}, "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	err = Serve(ctx, opts, faulty("email.receipt", func(ctx context.Context, exec, _ core.Executor, in core.Intent) error {
		interrupt()
		return exec(ctx, in)
	}), &out, io.Discard)
	if !errors.Is(err, ErrInterrupted) || err.Error() != ErrInterrupted.Error() {
		t.Errorf("error %v", err)
	}
	if want := []string{"pool 6 1 4 4 0 0 0 0"}; !slices.Equal(table(t, out.String()), want) {
		t.Errorf("rows %q, want %q", table(t, out.String()), want)
	}
	if !strings.Contains(out.String(), "Interrupted: no more orders.") {
		t.Errorf("the interrupt is not in\n%s", &out)
	}
}

func TestTheCommandLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":               "sync,pool",
		"-executor nats": "nats",
		"-executor all":  "sync,pool,asynq,river,nats,work",
		"-executor all -rabbitmq amqp://h -celery redis://h": "sync,pool,asynq,river,nats,work,rabbitmq,celery",
		"-executor celery -celery amqps://h":                 "celery",
		"-outbox -postgres postgres://h":                     "sync,pool",
		"-executor work -redis redis://h":                    "work",
	} {
		opts, err := Parse(strings.Fields(line), "sync,pool", io.Discard)
		if err != nil || strings.Join(opts.Executors, ",") != want {
			t.Errorf("%s: %+v, %v, want %s", line, opts, err, want)
		}
	}
	for line, want := range map[string]string{
		"surplus":                  `unexpected argument "surplus"`,
		"-colour":                  "not defined: -colour",
		"-executor carrier-pigeon": "-executor carrier-pigeon: want all or some of\n  sync ",
		"-executor sync,sync":      "sync is there twice",
		"-executor rabbitmq":       "-executor rabbitmq needs -rabbitmq URL",
		"-redis redis://h":         "-redis is of no use without -executor asynq or all",
		"-celery redis://h":        "-celery is of no use without -executor celery or all",
		"-celery amqp://h":         "-celery is of no use without -executor celery or all",
		"-executor celery":         "-executor celery needs -celery URL",
		"-postgres postgres://h":   "-postgres is of no use without -executor river or all",
	} {
		if _, err := Parse(strings.Fields(line), "sync,pool", io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", line, err, want)
		}
	}
}

func TestABrokerOfCeleryIsRedisOrRabbitMQ(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://h:1/0": "redis", "rediss://h": "redis", "unix:///run/redis.sock": "redis",
		"amqp://h": "rabbitmq", "AMQPS://h": "rabbitmq",
		"sqs://u:s3cr3t@h": "", "localhost:6379": "", "amqp": "",
	} {
		opts, err := Parse([]string{"-executor", "celery", "-celery", url}, "", io.Discard)
		switch {
		case want != "" && (err != nil || opts.CeleryBroker() != want):
			t.Errorf("%s: %+v, %v, want %s", url, opts, err, want)
		case want == "" && (err == nil || !strings.HasPrefix(err.Error(), "-celery: want the URL of ") || strings.Contains(err.Error(), "s3cr3t")):
			t.Errorf("%s: error %v", url, err)
		}
	}
}

func TestErrorsShowNoCredentials(t *testing.T) {
	t.Parallel()
	_, _, err := serve(t, map[string]Open{
		"sync": OpenSync,
		"pool": func(context.Context, *Run) (*Queue, error) {
			return nil, errors.New(`parse "redis://shop:s3cr3t@h:port": invalid port ":port" after host`)
		},
	})
	if want := `pool: parse "redis://***@h:***": invalid port "***" after host`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
