package airlock_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/goairlock/airlock"
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

// BenchmarkScope is Run + Enqueue + flush to an executor that does nothing, per
// intent. BenchmarkEncoding is the part of it that the arguments cost anyway.
func BenchmarkScope(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("N=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			ctx := context.Background()
			for i := 0; i < b.N; i += n {
				err := airlock.Run(ctx, nowhere, func(ctx context.Context) error {
					for range n {
						if err := airlock.Enqueue(ctx, benchTask, benchReceipt, core.Queue("mail")); err != nil {
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

func BenchmarkEncoding(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(benchReceipt); err != nil {
			b.Fatal(err)
		}
	}
}
