package airlocksql_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

func TestAnOutboxInAnotherScopeIsRefused(t *testing.T) {
	t.Parallel()
	exec := core.Executor(func(context.Context, ...core.Intent) error { return nil })
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: exec})
	if err != nil {
		t.Fatal(err)
	}
	err = airlock.Run(t.Context(), exec, func(context.Context) error { return nil }, airlocksql.Outbox(box))
	if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "airlocksql.RunTx only") {
		t.Errorf("airlock.Run: %v", err)
	}
	ctx := airlock.WithDefaults(t.Context(), exec, airlocksql.Outbox(box))
	if err := airlock.Run(ctx, nil, func(context.Context) error { return nil }); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("airlock.WithDefaults: %v", err)
	}
}
