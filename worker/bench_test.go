package worker_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// benchArgs are 134 bytes of JSON.
type benchArgs struct {
	Order    int64    `json:"order"`
	Customer string   `json:"customer"`
	Items    []string `json:"items"`
	Cents    int64    `json:"cents"`
	Note     string   `json:"note"`
}

var someArgs = benchArgs{
	Order: 9007199254740993, Customer: "ada@example.com", Items: []string{"book", "lamp", "chair"}, Cents: 129900, Note: "ring twice, leave it at the door",
}

func BenchmarkPerform(b *testing.B) {
	reg := must(worker.NewRegistry(worker.Handle(core.DeclareTask[benchArgs]("bench.perform"), func(context.Context, benchArgs) error { return nil })))(b)
	payload := must(json.Marshal(someArgs))(b)
	b.Run("json.Unmarshal alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var a benchArgs
			if err := json.Unmarshal(payload, &a); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, d := range map[string]worker.Delivery{
		"own goroutine": {OwnGoroutine: true}, "goroutine apart": {}, "timeout": {OwnGoroutine: true, Timeout: time.Minute},
	} {
		d.Task, d.Payload = "bench.perform", payload
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v := reg.Perform(context.Background(), d); v.Action != worker.Done {
					b.Fatal(v)
				}
			}
		})
	}
}
