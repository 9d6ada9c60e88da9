package core_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
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

func BenchmarkIntent(b *testing.B) {
	task := core.DeclareTask[benchArgs]("bench.intent", core.Queue("mail"), core.MaxAttempts(5))
	raw := core.DeclareTask[[]byte]("bench.raw").Codec(core.Raw)
	payload := must(json.Marshal(someArgs))(b)
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("json.Marshal alone", func() error { _, err := json.Marshal(someArgs); return err })
	run("JSON", func() error { _, err := task.Intent(someArgs); return err })
	run("Raw", func() error { _, err := raw.Intent(payload); return err })
	run("options", func() error {
		_, err := task.Intent(someArgs, core.Queue("other"), core.Timeout(time.Second), core.Priority(3), core.Delay(time.Minute))
		return err
	})
	run("headers", func() error {
		_, err := task.Intent(someArgs, core.Header("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), core.Header("Tenant", "7"))
		return err
	})
}
