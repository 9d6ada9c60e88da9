package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

var task = core.DeclareTask[string]("test.outbox")

func newIntent(t testing.TB, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := task.Intent("a", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func accepts(name string) core.Executor {
	return adapter.Guard(core.Capabilities{Executor: name, Order: core.OrderFIFO,
		Options: map[core.OptionName]core.Claim{core.OptionHeader: {Support: core.SupportNative}}}, func(context.Context, ...core.Intent) error { return nil })
}

func plain(context.Context, ...core.Intent) error { return nil }

// noDB is a database that fails.
type noDB struct{}

var errNoDB = errors.New("there is no database at postgres://user:secret@host/db")

func (noDB) Exec(context.Context, string, ...any) (int64, error)        { return 0, errNoDB }
func (noDB) Query(context.Context, string, ...any) (outbox.Rows, error) { return nil, errNoDB }

// noTx is a transaction of it, and wholeDB the database itself.
type noTx struct{ noDB }
type wholeDB struct{ noDB }

func (wholeDB) Transact(context.Context, func(outbox.Tx) error) error { return errNoDB }

func newBox(t testing.TB, opts outbox.Options) *outbox.Box {
	t.Helper()
	if opts.For == nil {
		opts.For = accepts("test")
	}
	box, err := outbox.New(outbox.Postgres, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	good := accepts("test")
	for name, opts := range map[string]*outbox.Options{
		"nil":                    nil,
		"no executor":            {},
		"executor around nil":    {For: adapter.Guard(core.Capabilities{}, nil)},
		"table":                  {For: good, Table: `x"; DROP TABLE orders; --`},
		"table of three parts":   {For: good, Table: "a.b.c"},
		"long table":             {For: good, Table: strings.Repeat("x", 49)},
		"destination":            {For: good, Destination: strings.Repeat("x", 129)},
		"destination with NUL":   {For: good, Destination: "a\x00b"},
		"lease":                  {For: good, Lease: time.Millisecond},
		"negative lease":         {For: good, Lease: -time.Hour},
		"partition, not ordered": {For: good, Partition: func(core.Intent) string { return "" }},
	} {
		if _, err := outbox.New(outbox.SQLite, opts); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := outbox.New("oracle", &outbox.Options{For: good}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("dialect: %v", err)
	}
	box := newBox(t, outbox.Options{})
	for name, opts := range map[string]*outbox.RelayOptions{
		"batch":          {Batch: 1001},
		"negative batch": {Batch: -1},
		"lease":          {Lease: time.Millisecond},
		"poll":           {Poll: -1},
		"ambiguous":      {Ambiguous: "guess"},
	} {
		if _, err := outbox.NewRelay(box, wholeDB{}, good, opts); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNilAndZeroValuesAreErrors(t *testing.T) {
	t.Parallel()
	ctx, in := t.Context(), newIntent(t)
	var noContext context.Context
	var nilBox *outbox.Box
	var nilHeld *outbox.Held
	var nilRelay *outbox.Relay
	box, db := newBox(t, outbox.Options{}), wholeDB{}
	relay := func(b *outbox.Box, db outbox.DB, exec core.Executor) error {
		_, err := outbox.NewRelay(b, db, exec, nil)
		return err
	}
	for name, err := range map[string]error{
		"nil box InTx":        nilBox.InTx(noTx{})(ctx, in),
		"zero box InTx":       new(outbox.Box).InTx(noTx{})(ctx, in),
		"nil tx":              box.InTx(nil)(ctx, in),
		"nil *sql.Tx":         box.InTx(outbox.SQL((*sql.Tx)(nil)))(ctx, in),
		"nil *sql.DB":         box.CreateTable(ctx, outbox.SQL((*sql.DB)(nil))),
		"nil *sql.Conn":       box.CheckTable(ctx, outbox.SQL((*sql.Conn)(nil))),
		"nil handle":          box.CheckTable(ctx, outbox.SQL(nil)),
		"question to nil":     nilBox.InTx(noTx{}).Check(ctx, in),
		"nil context":         box.InTx(noTx{})(noContext, in),
		"nil held":            nilHeld.Execute(ctx, in),
		"zero held":           new(outbox.Held).Execute(ctx, in),
		"held, nil tx":        box.Hold(nil).Execute(ctx, in),
		"held, a database":    box.Hold(db).Execute(ctx, in),
		"held of a nil box":   nilBox.Hold(noTx{}).Execute(ctx, in),
		"Close of nil":        nilBox.Close(ctx),
		"Close, nil context":  box.Close(noContext),
		"CreateTable of nil":  nilBox.CreateTable(ctx, db),
		"relay, nil box":      relay(nil, db, plain),
		"relay, nil database": relay(box, nil, plain),
		"relay, nil executor": relay(box, db, nil),
		"relay, other queue":  relay(box, db, accepts("other")),
		"Run of nil":          nilRelay.Run(ctx),
		"Run of zero":         new(outbox.Relay).Run(ctx),
		"Transact of a Tx":    outbox.SQL(new(sql.Tx)).Transact(ctx, nil),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, statsErr := box.Stats(noContext, db)
	_, listErr := box.List(ctx, db, 0, 1001)
	_, retryErr := box.Retry(ctx, nil, 1)
	_, discardErr := nilBox.Discard(ctx, db, 1)
	_, destErr := box.Destinations(ctx, nil)
	_, schemaErr := outbox.Schema("oracle", "")
	_, tableErr := outbox.Schema(outbox.MySQL, "a b")
	for i, err := range []error{statsErr, listErr, retryErr, discardErr, destErr, schemaErr, tableErr} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%d: %v", i, err)
		}
	}
	nilBox.Wake()
	nilHeld.Committed(ctx)
	new(outbox.Held).Committed(ctx)
	box.Hold(noTx{}).Committed(noContext)
	if caps := nilBox.Capabilities(); caps.Transactional {
		t.Errorf("capabilities of nil: %+v", caps)
	}
}

func TestCapabilitiesAreThoseOfTheQueueAndTransactional(t *testing.T) {
	t.Parallel()
	caps := core.Capabilities{
		Executor: "queue", Order: core.OrderFIFO, Durability: core.DurabilityProcess, Delivery: core.GuaranteeAtLeastOnce, MaxPayload: 10, DefaultAttempts: 25,
		IDWindow: core.Window{Kind: core.WindowStored}, Options: map[core.OptionName]core.Claim{
			core.OptionPriority: {Support: core.SupportEmulated, Reason: "lanes"},
			core.OptionDelay:    {Support: core.SupportNative, Longest: time.Hour, Granularity: time.Second},
			core.OptionNative:   {Support: core.SupportNative},
		},
	}
	box := newBox(t, outbox.Options{For: adapter.Guard(caps, plain)})
	got, ok := box.InTx(noTx{}).Capabilities()
	if !ok || !got.Transactional || !got.AtomicBatch || got.Durability != core.DurabilityProcess || got.Order != "" || got.IDWindow != (core.Window{}) {
		t.Errorf("capabilities %+v", got)
	}
	if got.Executor != "queue" || got.Delivery != caps.Delivery || got.MaxPayload != 10 || got.DefaultAttempts != 25 ||
		got.Options[core.OptionPriority] != caps.Options[core.OptionPriority] || got.Options[core.OptionDelay] != (core.Claim{Support: core.SupportNative, Granularity: time.Second}) ||
		got.Options[core.OptionNative].Support != core.SupportRefused {
		t.Errorf("capabilities %+v", got)
	}
	if spool, _ := box.InTx(wholeDB{}).Capabilities(); spool.Transactional {
		t.Error("a whole database is Transactional")
	}
	if held, ok := core.Executor(box.Hold(noTx{}).Execute).Capabilities(); !ok || !held.Transactional {
		t.Errorf("a Held has capabilities %+v", held)
	}
	ordered := newBox(t, outbox.Options{For: adapter.Guard(caps, plain), Ordered: true})
	if got := ordered.Capabilities(); got.Order != core.OrderFIFO {
		t.Errorf("ordered: %+v", got)
	}
	if got := newBox(t, outbox.Options{For: plain}).Capabilities(); !got.Transactional || got.Options[core.OptionDelay].Support != core.SupportEmulated {
		t.Errorf("of an executor that does not answer: %+v", got)
	}
}

func TestAQuestionDoesNoIO(t *testing.T) {
	t.Parallel()
	exec := newBox(t, outbox.Options{}).InTx(untouchable{})
	if err := exec(t.Context()); err != nil {
		t.Error(err)
	}
	if err := exec.Check(t.Context(), newIntent(t)); err != nil {
		t.Error(err)
	}
}

// untouchable panics when it is used.
type untouchable struct{ outbox.Tx }

func TestADatabaseErrorShowsNoCredentialAndNoPayload(t *testing.T) {
	t.Parallel()
	in := newIntent(t, core.Header("Token", "header-value"))
	box := newBox(t, outbox.Options{})
	for name, exec := range map[string]core.Executor{"transaction": box.InTx(noTx{}), "database": box.InTx(wholeDB{}), "held": box.Hold(noTx{}).Execute} {
		err := exec(t.Context(), in)
		if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "header-value") || !errors.Is(err, errNoDB) {
			t.Errorf("%s: %v", name, err)
		}
		want := core.NotSent
		if name == "database" {
			want = core.Unknown // the answer to a COMMIT of its own may have been lost
		}
		if got := core.OutcomesOf(err, []core.Intent{in})[0].State; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := box.InTx(untouchable{})(ctx, in); !errors.Is(err, context.Canceled) || !errors.Is(err, core.ErrNotSent) {
		t.Errorf("a context that is done: %v", err)
	}
}

func TestARelayWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	failed := make(chan outbox.Report, 10)
	relay, err := outbox.NewRelay(newBox(t, outbox.Options{}), wholeDB{}, accepts("test"), &outbox.RelayOptions{
		Logger: slog.New(slog.DiscardHandler), Observer: func(r outbox.Report) { failed <- r }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	for range 2 {
		if r := <-failed; !errors.Is(r.Err, errNoDB) || strings.Contains(r.Err.Error(), "secret") {
			t.Errorf("report %+v", r)
		}
	}
	if err := relay.Run(ctx); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a second Run: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestAnInspectorOfADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		box *outbox.Box
		db  outbox.DB
	}{{nil, wholeDB{}}, {new(outbox.Box), wholeDB{}}, {newBox(t, outbox.Options{}), nil}, {newBox(t, outbox.Options{}), outbox.SQL((*sql.DB)(nil))}} {
		if _, err := outbox.NewInspector(c.box, c.db); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("error %v", err)
		}
	}
	view, err := outbox.NewInspector(newBox(t, outbox.Options{}), wholeDB{})
	if err != nil {
		t.Fatal(err)
	}
	_, queues := view.Queues(t.Context())
	_, depth := view.Depth(t.Context(), "")
	_, list := view.List(t.Context(), inspect.Query{State: inspect.Dead})
	_, get := view.Get(t.Context(), "", "a")
	_, all := view.RetryAll(t.Context(), inspect.Selection{Limit: 1})
	for i, err := range []error{queues, depth, list, get, all, view.Retry(t.Context(), "", "a"), view.Discard(t.Context(), "", "a")} {
		if !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, errNoDB) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", i, err)
		}
	}
	var zero *outbox.Inspector
	_, queues = zero.Queues(t.Context())
	_, all = zero.RetryAll(t.Context(), inspect.Selection{Limit: 1})
	for i, err := range []error{queues, all, zero.Retry(t.Context(), "", "a"), zero.Discard(t.Context(), "", "a"), zero.Pause(t.Context(), "")} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("nil, %d: %v", i, err)
		}
	}
}
