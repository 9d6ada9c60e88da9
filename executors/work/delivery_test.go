package workexec

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// hostile are messages that no producer of ours stores, and what becomes of them.
var hostile = map[string]struct {
	bad     error // the message cannot be run
	invalid error // its envelope or arguments cannot be read
}{
	``:                                    {bad: errNoJob},
	`{`:                                   {bad: errNoJob},
	"\x00\xff":                            {bad: errNoJob},
	`5`:                                   {bad: errNoJob},
	`"n"`:                                 {bad: errNoJob},
	`[]`:                                  {bad: errNoJob},
	`null`:                                {bad: errWrongList},
	`{}`:                                  {bad: errWrongList},
	`{"name":"m"}`:                        {bad: errWrongList},
	`{"name":5}`:                          {bad: errNoJob},
	`{"name":"n","id":5}`:                 {bad: errNoJob},
	`{"name":"n","fails":"many"}`:         {bad: errNoJob},
	`{"name":"n","fails":1e99}`:           {bad: errNoJob},
	`{"name":"n","args":5}`:               {bad: errNoJob},
	`{"name":"n","args":[1]}`:             {bad: errNoJob},
	`{"name":"n"}`:                        {},
	`{"name":"n","args":null,"fails":-7}`: {},
	`{"name":"n","args":{},"fails":9223372036854775807}`:       {},
	`{"name":"n","args":{"airlock":"{"}}`:                      {invalid: core.ErrInvalid},
	`{"name":"n","args":{"airlock":5}}`:                        {invalid: core.ErrInvalid},
	`{"name":"n","args":{"airlock":"{\"v\":99}"}}`:             {invalid: worker.ErrLaterVersion},
	`{"name":"n","args":{"airlock_base64":"!"}}`:               {invalid: core.ErrInvalid},
	`{"name":"n","args":{"airlock":null,"airlock_payload":5}}`: {invalid: core.ErrInvalid},
}

func TestHostileMessagesAreUnderstoodOrRefused(t *testing.T) {
	t.Parallel()
	l := &list{queue: "default", name: "n"}
	for text, want := range hostile {
		h, err := deliveryOf(l, text)
		if !errors.Is(err, want.bad) || (err == nil) != (want.bad == nil) {
			t.Errorf("%q: %v, want %v", text, err, want.bad)
			continue
		}
		if err == nil && !errors.Is(h.delivery.EnvelopeErr, want.invalid) {
			t.Errorf("%q: %v, want %v", text, h.delivery.EnvelopeErr, want.invalid)
		}
	}
}

// FuzzDelivery looks for a message that panics the worker, or that becomes something
// else than one job of its list or a dead record.
func FuzzDelivery(f *testing.F) {
	for text := range hostile {
		f.Add(text)
	}
	f.Add(`{"name":"n","id":"x","t":1,"args":{"airlock":"{\"v\":1,\"max_attempts\":3,\"unique\":\"k\"}","airlock_payload":"[1]"},"fails":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		l := &list{queue: "default", prefix: "ns:", name: "n"}
		h := (&Worker{}).read(l, text)
		d := h.delivery
		if d.Task != "n" || d.Queue != "default" || d.Attempt < 1 {
			t.Fatalf("%+v", d)
		}
		w := &Worker{}
		for action := worker.Done; action <= worker.Interrupted; action++ {
			transition := w.transitionOf(h, worker.Verdict{Action: action, Err: errNoJob}, time.Unix(1_800_000_000, 0))
			if transition.to == nowhere || transition.to == first {
				continue
			}
			var job work.Job
			if err := json.Unmarshal(transition.text, &job); err != nil || job.Name != "n" || !utf8.Valid(transition.text) && utf8.ValidString(text) {
				t.Fatalf("%v becomes %q, %v", action, transition.text, err)
			}
		}
	})
}
