package outbox

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// script is a database whose tables have a version, and whose statements named
// "to N" lead to version N.
type script struct {
	version int64
	ran     []string
	fails   int // how often a statement fails
}

func (s *script) Exec(_ context.Context, text string, _ ...any) (int64, error) {
	if s.fails > 0 {
		s.fails--
		return 0, errors.New("somebody else does the same")
	}
	s.ran = append(s.ran, text)
	if strings.HasPrefix(text, "to ") {
		s.version = int64(text[3] - '0')
	}
	return 0, nil
}

func (s *script) Query(_ context.Context, text string, _ ...any) (Rows, error) {
	switch {
	case strings.Contains(text, "SELECT version"):
		return &oneRow{value: s.version}, nil
	case strings.Contains(text, "to_regclass") && s.version > 0:
		return &oneRow{value: 1}, nil
	}
	return &oneRow{over: true}, nil
}

func (s *script) Transact(_ context.Context, fn func(Tx) error) error { return fn(s) }

type oneRow struct {
	value int64
	over  bool
}

func (r *oneRow) Next() bool   { over := r.over; r.over = true; return !over }
func (r *oneRow) Err() error   { return nil }
func (r *oneRow) Close() error { return nil }
func (r *oneRow) Scan(dest ...any) error {
	*dest[0].(**int64) = &r.value
	return nil
}

func TestTablesOfAnOlderVersionAreMigratedStepByStep(t *testing.T) {
	t.Parallel()
	steps := [][]string{{"a", "to 1"}, {"b", "to 2"}, {"c", "d", "to 3"}}
	box, err := New(Postgres, &Options{For: func(context.Context, ...core.Intent) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range []string{"a;to 1;b;to 2;c;d;to 3", "b;to 2;c;d;to 3", "c;d;to 3", ""} {
		db := &script{version: int64(from), fails: 2}
		if err := box.migrate(t.Context(), db, steps); err != nil {
			t.Errorf("from version %d: %v", from, err)
		}
		if got := strings.Join(db.ran, ";"); got != want || db.version != 3 {
			t.Errorf("from version %d: ran %s, want %s", from, got, want)
		}
	}
	if err := box.migrate(t.Context(), &script{version: 4}, steps); !errors.Is(err, ErrNewSchema) {
		t.Errorf("from version 4: %v", err)
	}
}

func TestTheWindowOfAnID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		window core.Window
		ago    time.Duration
		want   bool
	}{
		{core.Window{}, 0, false},
		{core.Window{Kind: core.WindowFixed, For: time.Minute, Survives: core.SurvivalRestart}, 59 * time.Second, true},
		{core.Window{Kind: core.WindowFixed, For: time.Minute, Survives: core.SurvivalRestart}, time.Minute, false},
		{core.Window{Kind: core.WindowStored, Survives: core.SurvivalRestart}, 1000 * time.Hour, true},
		{core.Window{Kind: core.WindowStored, For: 5 * time.Minute, Survives: core.SurvivalRestart}, 6 * time.Minute, false},
		{core.Window{Kind: core.WindowStored, Count: 100, Survives: core.SurvivalRestart}, 0, false},
		{core.Window{Kind: core.WindowUnfinished, Survives: core.SurvivalRestart}, 0, false},
		{core.Window{Kind: core.WindowFixed, For: time.Hour, Survives: core.SurvivalReconnect}, time.Second, false},
		{core.Window{Kind: core.WindowStored}, time.Second, false},
	} {
		if got := remembers(c.window, c.ago); got != c.want {
			t.Errorf("%+v after %v: %v", c.window, c.ago, got)
		}
	}
}

func TestSchemaIsTextForEveryDialect(t *testing.T) {
	t.Parallel()
	for _, d := range []Dialect{Postgres, MySQL, SQLite} {
		text, err := Schema(d, "shop.outbox")
		if err != nil || !strings.HasSuffix(text, ";\n") || !strings.Contains(text, d.quote("shop.outbox_meta")) || !strings.Contains(text, d.quote("outbox_due")) {
			t.Errorf("%s: %v\n%s", d, err, text)
		}
	}
}

// FuzzDecodeRow: whatever is in a row, it is an intent that can be stored again, or
// an error.
func FuzzDecodeRow(f *testing.F) {
	task := core.DeclareTask[string]("test.outbox")
	in, err := task.Intent("payload", core.Queue("mail"), core.Header("K", "v"), core.Delay(time.Hour), core.MaxAttempts(3))
	if err != nil {
		f.Fatal(err)
	}
	good, err := adapter.EncodeIntent(in)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(nil))
	f.Add([]byte("null"))
	f.Add([]byte(`{"v":99}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := decodeRow(data)
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("error %v", err)
			}
			return
		}
		if _, err := adapter.EncodeIntent(in); err != nil {
			t.Errorf("decoded, and cannot be encoded: %v", err)
		}
	})
}

// A row that fails again and again keeps its place for some attempts. Then its waits
// begin with a short one.
func TestARowThatFailsKeepsItsPlaceForSomeAttempts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attempts int64
		progress bool
		limit    int // rows of the next claim
		want     time.Duration
	}{
		{3, true, 1000, 0}, {4, true, 1000, time.Second}, {5, true, 1000, 2 * time.Second}, {100, true, 1, time.Minute},
		{100, false, 2, 0}, {10, false, 1, 0}, {11, false, 1, time.Second}, {13, false, 1, 4 * time.Second},
	} {
		l := &loop{limit: c.limit}
		if got := l.inPlace(settlement{}, row{attempts: c.attempts}, c.progress).wait; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestTheTextOfAnArray(t *testing.T) {
	t.Parallel()
	var a textArray
	for _, v := range []string{"a", "", `say "x"`, `back\slash`, "{,}", "NULL"} {
		a.add(v)
	}
	if got, want := a.String(), `{"a","","say \"x\"","back\\slash","{,}","NULL"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
