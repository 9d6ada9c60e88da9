package airlocktest_test

import (
	"testing"

	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

func TestAnIDIsOneJobPerQueueIfTheCapabilitiesSaySo(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[int]("recorder.id")
	for perQueue, want := range map[bool]core.State{false: core.Duplicate, true: core.Accepted} {
		var rec airlocktest.Recorder
		rec.Act(core.Capabilities{
			Executor: "acting", IDWindow: core.Window{Kind: core.WindowStored, PerQueue: perQueue},
			Options: map[core.OptionName]core.Claim{
				core.OptionID: {Support: core.SupportNative}, core.OptionQueue: {Support: core.SupportNative},
			},
		})
		var intents []core.Intent
		for _, queue := range []string{"left", "right", "right"} {
			in, err := task.Intent(1, core.ID("one"), core.Queue(queue))
			if err != nil {
				t.Fatal(err)
			}
			intents = append(intents, in)
		}
		out := core.OutcomesOf(rec.Execute(t.Context(), intents...), intents)
		for i, want := range []core.State{core.Accepted, want, core.Duplicate} {
			if out[i].State != want {
				t.Errorf("per queue %v: intent %d is %v, want %v", perQueue, i, out[i].State, want)
			}
		}
	}
}
