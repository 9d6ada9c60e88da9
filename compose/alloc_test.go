package compose_test

import (
	"context"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// One accepted intent is the common case. A wrapper must cost only what it adds.
func TestOneAcceptedIntentCostsNoAllocation(t *testing.T) {
	traced := func(context.Context) map[string]string { return nil }
	header := map[string]string{"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	mirror, err := compose.NewMirror(accept, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, mirror)
	byQueue := map[string]core.Executor{"mail": accept}
	for name, tt := range map[string]struct {
		exec core.Executor
		most float64
	}{
		"WithRetry":                {compose.WithRetry(accept, compose.Retry{}), 0},
		"WithLog, not enabled":     {compose.WithLog(accept, quiet), 0},
		"WithHeaders, none":        {compose.WithHeaders(accept, traced), 0},
		"Strip, nothing to drop":   {compose.Strip(accept, core.OptionDelay, core.OptionUnique), 0},
		"Strip":                    {compose.Strip(accept, core.OptionPriority), 1},
		"WithPriority":             {compose.WithPriority(accept, accept, 0), 0},
		"Route":                    {compose.Route(compose.ByQueue, byQueue, accept), 0},
		"WithFallback":             {compose.WithFallback(accept, accept), 0},
		"Split":                    {compose.NewSplit(accept, compose.Share{Percent: 50, To: accept}).Execute, 0},
		"Mirror":                   {mirror.Wrap(accept), 1}, // a share of its buffer
		"WithTimeout":              {compose.WithTimeout(accept, time.Hour), 4},
		"WithHeaders, one":         {compose.WithHeaders(accept, func(context.Context) map[string]string { return header }), 5},
		"retry of route of log of": {compose.WithRetry(compose.Route(compose.ByQueue, byQueue, compose.WithLog(accept, quiet)), compose.Retry{}), 0},
	} {
		list := []core.Intent{intent(t, 0, core.Priority(9), core.Queue("mail"))}
		ctx := context.Background()
		got := testing.AllocsPerRun(200, func() {
			if err := tt.exec(ctx, list...); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s: %v", name, got)
		if got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, tt.most)
		}
	}
}
