package conformance_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// atRandom runs jobs never, several times, at the same time, after their end, with any
// attempt, and also jobs that nobody has sent. It claims to honour every option.
func atRandom(t conformance.T, s conformance.Setup) conformance.System {
	caps := core.Capabilities{
		Executor: "random", Options: map[core.OptionName]core.Claim{}, DefaultAttempts: 3,
		Order: core.OrderFIFO, Ranking: core.RankingStrict, PriorityLevels: 10,
		IDWindow: core.Window{Kind: core.WindowUnfinished},
	}
	for _, name := range core.PortableOptions() {
		caps.Options[name] = core.Claim{Support: core.SupportNative}
	}
	random := rand.New(rand.NewPCG(1, 2))
	var runs sync.WaitGroup
	t.Cleanup(runs.Wait)
	exec := adapter.Each(caps, func(_ context.Context, in core.Intent) error {
		for range random.IntN(5) {
			d := worker.FirstDelivery(&in)
			d.Attempt = random.IntN(4)
			if random.IntN(10) == 0 {
				d.ID = fmt.Sprint("stranger-", random.Uint32())
			}
			wait := time.Duration(random.IntN(3)) * time.Second
			runs.Go(func() {
				time.Sleep(wait)
				s.Registry.Perform(context.Background(), d)
			})
		}
		return nil
	})
	return conformance.System{Exec: exec, Caps: caps, Slots: s.Slots}
}

func TestTheModelFailsWithoutAPanicWhateverAnExecutorDoes(t *testing.T) {
	for seed := range uint64(15) {
		report, err := conformance.Check(t.Context(), conformance.Harness{InBubble: true, New: atRandom},
			conformance.Choice{Only: []string{"M01"}, Seed: seed + 1, Bubble: t})
		if err != nil {
			t.Fatal(err)
		}
		if r := report.Results[0]; r.Verdict != conformance.Fail || r.Kind != conformance.Assertion {
			t.Errorf("seed %d: %s, %s: %s", seed+1, r.Verdict, r.Kind, r.Got)
		}
	}
}
