package airlock_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// receipt encodes to about 130 bytes, as the benchmarks of the queues do.
type receipt struct {
	Order    int64  `json:"order"`
	Customer string `json:"customer"`
	Email    string `json:"email"`
	Total    int64  `json:"total_cents"`
	Currency string `json:"currency"`
}

var (
	benchTask    = core.DeclareTask[receipt]("email.receipt", core.MaxAttempts(5))
	benchReceipt = receipt{1234567, "Ada Lovelace, London", "ada.lovelace@example.com", 129900, "EUR"}
)

func nowhere(context.Context, ...core.Intent) error { return nil }

// everything is an executor that can be asked and takes every option.
var everything = func() core.Executor {
	caps := core.Capabilities{Executor: "bench", MaxPayload: 1 << 20, Options: map[core.OptionName]core.Claim{}}
	for _, name := range core.PortableOptions() {
		caps.Options[name] = core.Claim{Support: core.SupportNative}
	}
	return adapter.Guard(caps, nowhere)
}()

// BenchmarkScope measures Run + Enqueue + flush to an executor that does nothing,
// per intent: one that cannot be asked, and one that is asked at each Enqueue, with
// and without options. BenchmarkEncoding is the part of it that the arguments cost.
func BenchmarkScope(b *testing.B) {
	bare := core.DeclareTask[receipt]("email.receipt")
	for _, bench := range []struct {
		name string
		exec core.Executor
		task core.Task[receipt]
		opts []core.Option
	}{
		{"plain", nowhere, benchTask, []core.Option{core.Queue("mail")}},
		{"plain, no options", nowhere, bare, nil},
		{"asked", everything, benchTask, []core.Option{core.Queue("mail")}},
		{"asked, no options", everything, bare, nil},
	} {
		for _, n := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/N=%d", bench.name, n), func(b *testing.B) {
				b.ReportAllocs()
				ctx := context.Background()
				for i := 0; i < b.N; i += n {
					err := airlock.Run(ctx, bench.exec, func(ctx context.Context) error {
						for range n {
							if err := airlock.Enqueue(ctx, bench.task, benchReceipt, bench.opts...); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkEncoding(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(benchReceipt); err != nil {
			b.Fatal(err)
		}
	}
}
