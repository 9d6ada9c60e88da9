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

// hidden returns the forms in which fmt or JSON could show a payload or header
// value.
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

	// A struct whose fields are unexported hides the Format methods from fmt.
	type wraps struct {
		in      core.Intent
		headers core.Headers
		task    core.Task[string]
	}
	for what, v := range map[string]any{
		"intent": in, "headers": in.Headers(),
		"option": secret, "options": []core.Option{secret}, "task": task,
		"intents": []core.Intent{in}, "map": map[string]core.Intent{"k": in},
		"pointers": []any{&in}, "field": struct{ In core.Intent }{in}, "headers field": struct{ H core.Headers }{in.Headers()},
		"unexported": wraps{in, in.Headers(), task}, "unexported pointer": &wraps{in, in.Headers(), task},
	} {
		outputs := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q", "%# x", "%o", "%t"} {
			outputs[verb] = fmt.Sprintf(verb, v)
		}
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v)
		outputs["slog text"] = text.String()
		switch what {
		case "intents", "map", "pointers", "field":
			// MarshalJSON encodes the whole intent, as its comment says.
			if !strings.Contains(js.String(), "payload") {
				t.Errorf("%s: logged %s", what, js.String())
			}
		default:
			outputs["slog JSON"] = js.String()
		}
		for how, out := range outputs {
			for _, h := range hidden() {
				if strings.Contains(out, h) {
					t.Errorf("%s by %s: %s", what, how, out)
				}
			}
		}
	}
}

func TestIntentsPrintTheirIdentity(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent("x", core.ID("id-1"), core.Queue("mail")))(t)
	const want = "test.plain id-1 on mail"
	for _, got := range []string{
		in.String(), fmt.Sprint(in), fmt.Sprintf("%+v", &in), fmt.Sprintf("%#v", in), fmt.Sprintf("%x", in),
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
	log.Info("m", "in", in, "ptr", &in, "bare", in.Without(core.OptionQueue))
	var line struct{ In, Ptr, Bare map[string]string }
	if err := json.Unmarshal(js.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(line) != "{map[id:id-1 queue:mail task:test.plain] map[id:id-1 queue:mail task:test.plain] map[id:id-1 task:test.plain]}" {
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
