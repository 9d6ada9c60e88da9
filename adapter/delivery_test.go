package adapter_test

import (
	"errors"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestDeliveryOfHasWhatTheEnvelopeHolds(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[int]("test.task")
	in, err := task.Intent(1, core.ID("x"), core.Timeout(time.Second), core.Backoff(core.Fixed(time.Minute)), core.Header("K", "v"))
	if err != nil {
		t.Fatal(err)
	}
	d := adapter.DeliveryOf(adapter.EnvelopeOf(&in).Encode())
	if d.ID != "x" || d.Attempt != 1 || d.MaxAttempts != core.DefaultMaxAttempts || d.Timeout != time.Second ||
		d.Backoff != core.Fixed(time.Minute) || d.Headers.Get("K") != "v" || d.EnvelopeErr != nil {
		t.Errorf("delivery %+v", d)
	}
	if d := adapter.DeliveryOf(nil); d.EnvelopeErr != nil || d.MaxAttempts != core.DefaultMaxAttempts {
		t.Errorf("without an envelope: %v", d.EnvelopeErr)
	}
	if d := adapter.DeliveryOf([]byte("{")); !errors.Is(d.EnvelopeErr, core.ErrInvalid) {
		t.Errorf("malformed: %v", d.EnvelopeErr)
	}
	if d := adapter.DeliveryOf([]byte(`{"v":1000}`)); !errors.Is(d.EnvelopeErr, worker.ErrLaterVersion) {
		t.Errorf("a later version: %v", d.EnvelopeErr)
	}
}
