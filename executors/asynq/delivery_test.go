package asynqexec

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/hibiken/asynq"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func FuzzDelivery(f *testing.F) {
	for _, envelope := range []string{
		"", "{", `{"v":1,"max_attempts":25}`, `{"v":1,"max_attempts":-1}`, `{"v":99}`, `{"v":1,"timeout":"0.5s","deadline":"x"}`, "\xff", "null",
	} {
		f.Add("test.work", []byte(`"a"`), "Airlock-Envelope", envelope)
	}
	f.Add("", []byte(nil), "", "")
	f.Add("\xff", []byte("\x00"), "\xff", "\xfe")
	ran := 0
	reg, err := worker.NewRegistry(worker.Handle(core.DeclareTask[string]("test.work"), func(_ context.Context, _ string) error { ran++; return nil }))
	if err != nil {
		f.Fatal(err)
	}
	quiet := &settings{parkFor: defaultParkFor, logger: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, task string, payload []byte, key, value string) {
		native := asynq.NewTaskWithHeaders(task, payload, map[string]string{key: value, "Trace": "t1"})
		d := deliveryOf(t.Context(), native, adapter.QueueNames{})
		if d.Task != task || string(d.Payload) != string(payload) || d.Attempt != 1 || d.Native != native {
			t.Errorf("%+v", d)
		}
		if d.Headers.Has(envelopeHeader) || key != envelopeHeader && d.Headers.Get(key) != map[string]string{key: value, "Trace": "t1"}[key] {
			t.Errorf("headers %v", d.Headers)
		}
		before := ran
		answered := Handler(reg).ProcessTask(context.WithValue(t.Context(), settingsKey{}, quiet), native)
		switch {
		case answered == nil:
			if ran != before+1 {
				t.Error("done without a run")
			}
		case ran != before:
			t.Errorf("run, and then %v", answered)
		case d.EnvelopeErr != nil && errors.Is(d.EnvelopeErr, worker.ErrLaterVersion) == errors.Is(answered, asynq.SkipRetry):
			t.Errorf("%v is answered with %v", d.EnvelopeErr, answered)
		}
	})
}

// decodable must judge as asynq does.
func TestOnlyWhatAsynqCannotDecodeIsUnreadable(t *testing.T) {
	t.Parallel()
	if messageType == nil {
		t.Fatal("asynq's message is not registered under its name")
	}
	good := messageType.New()
	good.Set(messageType.Descriptor().Fields().ByName("type"), protoreflect.ValueOfString("test.work"))
	message, err := proto.Marshal(good.Interface())
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]bool{
		"": true, string(message): true, string(message) + "\x80": false, "no protobuf": false, "\x0a\x01\xff": false,
	} {
		if decodable(raw) != want {
			t.Errorf("%q: want %v", raw, want)
		}
	}
}

// What the quick look takes for decodable is so.
func FuzzWellFormed(f *testing.F) {
	good := messageType.New()
	fields := messageType.Descriptor().Fields()
	good.Set(fields.ByName("type"), protoreflect.ValueOfString("test.work"))
	good.Set(fields.ByName("payload"), protoreflect.ValueOfBytes([]byte("\xff\x00")))
	good.Set(fields.ByName("id"), protoreflect.ValueOfString("an ID"))
	good.Set(fields.ByName("timeout"), protoreflect.ValueOfInt64(1<<60))
	good.Mutable(fields.ByName("headers")).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
	message, err := proto.Marshal(good.Interface())
	if err != nil {
		f.Fatal(err)
	}
	if !wellFormed(message, messageType.Descriptor()) {
		f.Error("a usual message is decoded at length")
	}
	for _, seed := range [][]byte{nil, message, append(message, 0x80), message[:len(message)-1], []byte("\x0a\x01\xff"), []byte("\x0b\x0c"), []byte("\x5a\x03\x0a\x01\xff")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		decoded := messageType.New()
		err := proto.Unmarshal(message, decoded.Interface())
		if err != nil && wellFormed(message, messageType.Descriptor()) {
			t.Errorf("%q: %v", message, err)
		}
		if got, want := idOf(string(message)), decoded.Get(fields.ByName("id")).String(); err == nil && got != want {
			t.Errorf("%q: ID %q, want %q", message, got, want)
		}
	})
}
