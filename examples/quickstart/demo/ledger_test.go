package demo

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

var testTask = core.NewTask("test", func(context.Context, int) error { return nil })

func TestTheLedgerSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const late = time.Second
	exec := adapter.Guard(core.Capabilities{Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Support: core.SupportNative}, core.OptionID: {Support: core.SupportNative},
	}}, func(context.Context, ...core.Intent) error { return nil })
	due := time.Now().Add(time.Hour)
	for name, tc := range map[string]struct {
		asked int
		ran   map[string][]time.Time
		want  string // "" if all is well
	}{
		"well":          {3, map[string][]time.Time{"a": {due}, "b": {due.Add(late)}}, ""},
		"lost":          {2, map[string][]time.Time{"a": {due}}, "have not run: 1"},
		"twice":         {2, map[string][]time.Time{"a": {due, due}, "b": {due}}, "ran twice: 1"},
		"early":         {2, map[string][]time.Time{"a": {due}, "b": {due.Add(-time.Second)}}, "too early or too late: 1"},
		"late":          {2, map[string][]time.Time{"a": {due}, "b": {due.Add(late + 1)}}, "too early or too late: 1"},
		"unknown":       {2, map[string][]time.Time{"a": {due}, "b": {due}, "c": {due}}, "never dispatched: 1"},
		"not asked for": {1, map[string][]time.Time{"a": {due}, "b": {due}}, "never asked for: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := NewLedger()
			book.Enqueued(tc.asked)
			for _, id := range []string{"a", "b"} {
				in, err := testTask.Intent(1, core.ID(id), core.At(due))
				if err != nil {
					t.Fatal(err)
				}
				if err := book.Dispatches(exec)(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			for id, starts := range tc.ran {
				for _, start := range starts {
					book.Ran(id, start)
				}
			}
			err := book.totals(late).balanced()
			if tc.want == "" && err != nil {
				t.Error(err)
			}
			if tc.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tc.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error %v, want %s alone", err, tc.want)
			}
		})
	}
}

// A relay sends a job again if it has not seen that the job was sent.
func TestAJobThatIsSentAgainIsDueWhenItWasSentFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := NewLedger()
		in, err := core.DeclareTask[string]("ledger.again").Intent("x")
		if err != nil {
			t.Fatal(err)
		}
		send := book.Dispatches(func(context.Context, ...core.Intent) error { return nil })
		if err := send(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		book.Ran(in.ID, time.Now())
		time.Sleep(time.Minute)
		if err := send(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if n := book.totals(time.Hour).mistimed; n > 0 {
			t.Errorf("%d jobs are mistimed", n)
		}
	})
}
