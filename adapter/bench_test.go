package adapter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

func BenchmarkCheck(b *testing.B) {
	for name, opts := range map[string][]core.Option{
		"bare": nil, "queue": {core.Queue("mail")},
		"options": {core.Queue("mail"), core.Timeout(time.Second), core.Priority(3), core.MaxAttempts(5), core.Header("A", "1")},
	} {
		for _, n := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				ins := make([]core.Intent, n)
				for i := range ins {
					ins[i] = must(plain.Intent("x", opts...))(b)
				}
				exec := adapter.Guard(everything(), accept)
				b.ReportAllocs()
				for b.Loop() {
					if err := exec(context.Background(), ins...); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/intent")
			})
		}
	}
}

// BenchmarkQuestion asks an executor what a scope asks when an intent is enqueued.
func BenchmarkQuestion(b *testing.B) {
	exec := adapter.Guard(everything(), accept)
	for name, opts := range map[string][]core.Option{
		"bare":    nil,
		"options": {core.Queue("mail"), core.Priority(3), core.MaxAttempts(5)},
	} {
		b.Run("Check/"+name, func(b *testing.B) {
			in := must(plain.Intent("x", opts...))(b)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if err := exec.Check(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Capabilities", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := exec.Capabilities(); !ok {
				b.Fatal("no capabilities")
			}
		}
	})
}
