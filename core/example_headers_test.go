package core_test

import (
	"fmt"

	"github.com/goairlock/airlock/core"
)

// Headers are ordered by key. Printed they show no values.
func ExampleHeaders() {
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.Header("Tenant", "blue"), core.Header("Trace", "4bf92f35"))
	headers := in.Headers()
	for key, value := range headers.All() {
		fmt.Println(key, value)
	}
	fmt.Println(headers, headers.Has("User"), err)
	// Output:
	// Tenant blue
	// Trace 4bf92f35
	// headers["Tenant" "Trace"] false <nil>
}

// An adapter makes headers from what the queue has delivered.
func ExampleNewHeaders() {
	delivered := map[string]string{"tenant": "blue", "x-another producer": "anything"}
	headers := core.NewHeaders(delivered)
	fmt.Println(headers.Len(), headers.Get("tenant"), headers.Has("Tenant"))
	// Output: 2 blue false
}
