package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goairlock/airlock/airlocktest"
)

func Example() {
	main()
	// Output:
	// order A-1: <nil>
	// order A-2: card declined
	// mail: receipt for order A-1
}

func TestCheckoutSendsAReceipt(t *testing.T) {
	rec := airlocktest.Run(t, func(ctx context.Context) error { return Checkout(ctx, "A-1", "good") })
	airlocktest.RequireDispatched(t, rec, SendReceipt, func(r Receipt) bool { return r.Order == "A-1" })
}

// The README names the versions that the go.mod files require.
func TestTheREADMENamesTheVersions(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(text)), " ")
	}
	readme := read("README.md")
	for _, c := range []struct{ in, path, name string }{
		{"executors/asynq", "github.com/hibiken/asynq", "asynq"},
		{"executors/river", "github.com/riverqueue/river", "River"},
		{"executors/work", "github.com/gocraft/work", "gocraft/work"},
		{"executors/nats", "github.com/nats-io/nats.go", "nats.go"},
		{"executors/rabbitmq", "github.com/rabbitmq/amqp091-go", "amqp091-go"},
		{"integration", "github.com/nats-io/nats-server/v2", "nats-server"},
	} {
		_, version, ok := strings.Cut(read(c.in+"/go.mod"), " "+c.path+" v")
		if !ok {
			t.Errorf("%s does not require %s", c.in, c.path)
			continue
		}
		version, _, _ = strings.Cut(version, " ")
		short := version[:strings.LastIndex(version, ".")]
		if !strings.Contains(readme, " "+c.name+" "+short) {
			t.Errorf("the README does not say %s %s", c.name, short)
		}
	}
	modules, err := filepath.Glob("../../../executors/*/go.mod")
	if err != nil || len(modules) < 8 {
		t.Fatalf("found %d executors, %v", len(modules), err)
	}
	later := map[string]bool{"airlockpgx": true, "nats": true, "river": true}
	for _, file := range append(modules, "../../../go.mod", "../../../airlockpgx/go.mod", "../../../otelairlock/go.mod") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := "1.25"
		if later[filepath.Base(filepath.Dir(file))] {
			want = "1.26"
		}
		if !strings.Contains(string(text), "\ngo "+want+".0\n") {
			t.Errorf("%s does not say go %s.0, as the README does", file, want)
		}
	}
	if !strings.Contains(readme, "Go 1.25 or later; 1.26 for River, NATS, airlockpgx and this repository.") {
		t.Error("the README names other versions of Go")
	}
}

// Every piece of Go in the README is in a file of this folder.
func TestTheREADMEShowsThisProgram(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(source)
	}
	shown := 0
	for block := range strings.SplitSeq(string(readme), "```go\n") {
		code, _, ok := strings.Cut(block, "```\n")
		if !ok || strings.HasPrefix(block, "# ") {
			continue
		}
		for part := range strings.SplitSeq(strings.TrimSuffix(code, "\n}\n"), "\n}\n") {
			shown++
			if !strings.Contains(sources.String(), part+"\n}\n") {
				t.Errorf("this is in no file here:\n%s", part)
			}
		}
	}
	if shown < 6 {
		t.Errorf("the README shows %d functions, want 6", shown)
	}
}
