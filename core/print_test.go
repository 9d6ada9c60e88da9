package core_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
)

// hidden is how a payload or header value could come out of fmt or JSON.
func hidden() []string {
	return []string{
		canary, base64.StdEncoding.EncodeToString([]byte(`"` + canary + `"`)),
		fmt.Sprintf("%d", []byte(canary))[1:10], fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%# x", canary),
		strings.ReplaceAll(fmt.Sprintf("%#v", []byte(canary)), "[]byte", "")[1:20],
	}
}

func TestNothingPrintsPayloadOrHeaderValues(t *testing.T) {
	t.Parallel()
	secret := core.Header("Authorization", canary)
	task := core.DeclareTask[string]("print.task", core.Header("Default", canary))
	in := must(task.Intent(canary, secret, core.Queue("mail")))(t)
	d := in.Delivery()
	job := core.Job{ID: d.ID, Headers: in.Headers()}

	// A struct whose fields are unexported hides the Format methods from fmt.
	type wraps struct {
		in      core.Intent
		headers core.Headers
		job     core.Job
		task    core.Task[string]
	}
	for what, v := range map[string]any{
		"intent": in, "delivery": d, "headers": in.Headers(), "job": job, "envelope": in.Envelope(),
		"option": secret, "options": []core.Option{secret}, "task": task,
		"intents": []core.Intent{in}, "deliveries": []core.Delivery{d}, "map": map[string]core.Intent{"k": in},
		"pointers": []any{&in, &d, &job}, "field": struct{ In core.Intent }{in}, "headers field": struct{ H core.Headers }{in.Headers()},
		"unexported": wraps{in, in.Headers(), job, task}, "unexported pointer": &wraps{in, in.Headers(), job, task},
	} {
		outputs := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q", "%# x", "%o", "%t"} {
			outputs[verb] = fmt.Sprintf(verb, v)
		}
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v)
		outputs["slog text"], outputs["slog JSON"] = text.String(), js.String()
		for how, out := range outputs {
			for _, h := range hidden() {
				if strings.Contains(out, h) {
					t.Errorf("%s by %s: %s", what, how, out)
				}
			}
		}
	}
}

func TestIntentAndDeliveryPrintTheirIdentity(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent("x", core.ID("id-1"), core.Queue("mail")))(t)
	const want = "test.plain id-1 on mail"
	for _, got := range []string{
		in.String(), fmt.Sprint(in), fmt.Sprintf("%+v", &in), fmt.Sprintf("%#v", in), in.Delivery().String(), fmt.Sprintf("%x", in.Delivery()),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := in.Without(core.OptionQueue).String(); got != "test.plain id-1" {
		t.Errorf("got %q", got)
	}
	var js bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&js, nil))
	log.Info("m", "in", in, "d", in.Without(core.OptionQueue).Delivery())
	var line struct{ In, D map[string]string }
	if err := json.Unmarshal(js.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(line) != "{map[id:id-1 queue:mail task:test.plain] map[id:id-1 task:test.plain]}" {
		t.Errorf("logged %s", js.String())
	}
}

func TestHeadersAndOptionsPrintTheirKeys(t *testing.T) {
	t.Parallel()
	h := core.NewHeaders(map[string]string{"B": canary, "A": canary})
	for want, v := range map[string]any{
		`headers["A" "B"]`: h, `headers[]`: core.Headers{},
		`option header "A"`: core.Header("A", canary), `option queue`: core.Queue("q"), `option native "nats"`: core.NativeOption("nats", canary),
	} {
		if got := fmt.Sprintf("%+v", v); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
