package outbox_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/goairlock/airlock/outbox"
)

// The tables as text, for a migration of your own.
func ExampleSchema() {
	text, err := outbox.Schema(outbox.SQLite, "")
	first, _, _ := strings.Cut(text, "\n")
	fmt.Println(first, err)
	fmt.Println(strings.Count(text, ";\n"), "statements")
	// Output:
	// CREATE TABLE IF NOT EXISTS "airlock_outbox" ( <nil>
	// 6 statements
}

// What is left over, and why. A person decides.
func ExampleBox_List() {
	review := func(ctx context.Context, box *outbox.Box, db outbox.DB) error {
		rows, err := box.List(ctx, db, 0, 100)
		if err != nil {
			return err
		}
		for _, row := range rows {
			fmt.Println(row)
		}
		return nil
	}
	_ = review
}
