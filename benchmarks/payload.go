package main

import (
	"encoding/json"

	"github.com/goairlock/airlock/core"
)

// benchArgs are 134 bytes of JSON.
type benchArgs struct {
	Order    string `json:"order"`
	Customer string `json:"customer"`
	Cents    int    `json:"cents"`
	Note     string `json:"note"`
}

func (benchArgs) Kind() string { return "bench.receipt" }

var (
	bench     = benchArgs{"A-1001", "ada@example.com", 6750, "a payload of the size that jobs usually have: ids, an address, a line"}
	benchTask = core.DeclareTask[benchArgs]("bench.receipt")
)

// benchPayload is what is stored of bench.
func benchPayload() []byte {
	payload, _ := json.Marshal(bench) // a struct of strings and a number
	return payload
}

// makeIntents makes jobs of which each is stored.
func makeIntents(n int, opts ...core.Option) ([]core.Intent, error) {
	intents := make([]core.Intent, n)
	for i := range intents {
		var err error
		if intents[i], err = benchTask.Intent(bench, opts...); err != nil {
			return nil, err
		}
	}
	return intents, nil
}
