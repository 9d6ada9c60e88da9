package compose_test

import (
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func TestStripDropsEveryOption(t *testing.T) {
	t.Parallel()
	all := append(core.PortableOptions(), core.OptionNative)
	full := intent(t, 7,
		core.Queue("q"), core.Priority(3), core.Delay(time.Hour), core.MaxAttempts(2), core.Backoff(core.Fixed(time.Second)),
		core.Timeout(time.Second), core.Deadline(time.Now().Add(2*time.Hour)), core.ID("own"), core.Unique("u"),
		core.Header("K", "v"), core.NativeOption("x", 1))
	for _, dropped := range all {
		s := scripted()
		if err := compose.Strip(s.Execute, dropped)(t.Context(), intent(t, 1), full); err != nil {
			t.Fatal(err)
		}
		got := s.calls[0][1]
		for _, name := range all {
			if got.Has(name) != (name != dropped) {
				t.Errorf("without %s: has %s is %v", dropped, name, got.Has(name))
			}
		}
		if got.ID != "own" || string(got.Payload()) != "7" {
			t.Errorf("without %s the intent is %v", dropped, got)
		}
	}
}

func TestStripLetsARefusingExecutorTakeTheIntent(t *testing.T) {
	t.Parallel()
	bare := adapter.Guard(core.Capabilities{Executor: "bare"}, accept)
	list := []core.Intent{intent(t, 0, core.Queue("mail"), core.Delay(time.Hour))}
	err := compose.Strip(bare, core.OptionDelay)(t.Context(), list...)
	wantStates(t, err, list, core.Rejected)
	wantErrorIs(t, err, core.ErrUnsupported)
	if err := compose.Strip(bare, core.OptionDelay, core.OptionQueue)(t.Context(), list...); err != nil {
		t.Error(err)
	}
}

func TestStripKeepsItsOwnListOfNames(t *testing.T) {
	t.Parallel()
	s := scripted()
	names := []core.OptionName{core.OptionPriority}
	exec := compose.Strip(s.Execute, names...)
	names[0] = core.OptionQueue
	if err := exec(t.Context(), intent(t, 0, core.Queue("q"), core.Priority(3))); err != nil {
		t.Fatal(err)
	}
	if got := s.calls[0][0]; !got.Has(core.OptionQueue) || got.Has(core.OptionPriority) {
		t.Errorf("options %+v", got.Options)
	}
}
