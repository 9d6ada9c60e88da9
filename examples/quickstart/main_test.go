package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// quickstart runs the program and returns what it prints and returns.
func quickstart(t *testing.T, args ...string) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	err = run(t.Context(), args, &o, &e)
	return o.String(), e.String(), err
}

func ordersFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mine.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const goodOrder = `{"id": "G-1", "customer": "a@b", "card": "1", "lines": [{"article": "cup", "quantity": 1, "cents": 5}]}`

// table returns the sums that the program prints, without the time.
func table(t *testing.T, out string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) != 9 {
		t.Fatalf("no table at the end of:\n%s", out)
	}
	return strings.Join(fields[1:8], " ")
}

func TestEveryExecutorBalancesTheSample(t *testing.T) {
	t.Parallel()
	for _, e := range executors {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			out, _, err := quickstart(t, "-executor", e.name)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// 6 orders of which 2 are declined: 4 × (pick, receipt, review, label);
			// discarded are the 2 × 3 that the declined ones asked for.
			if got, want := table(t, out), "6 4 16 16 6 0 0"; got != want {
				t.Errorf("sums %s, want %s\n%s", got, want, out)
			}
			if regexp.MustCompile(`email.*A-100[25]`).MatchString(out) {
				t.Errorf("work of a declined order was done:\n%s", out)
			}
		})
	}
}

func TestAMalformedOrderIsToldAndTheOthersAreServed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ order, want string }{
		"no id":            {`{"customer": "a@b"}`, "3:3: order 2: no id"},
		"no address":       {`{"id": "X", "customer": "ada"}`, "order 2: customer"},
		"no lines":         {`{"id": "X", "customer": "a@b", "card": "1"}`, "order 2: no lines"},
		"a bad quantity":   {`{"id": "X", "customer": "a@b", "card": "1", "lines": [{"article": "cup"}]}`, "order 2: line 1: quantity 0"},
		"a wrong type":     {`{"id": 5}`, "order 2: id: a number does not fit"},
		"an unknown field": {`{"id": "X", "colour": "red"}`, `order 2: json: unknown field "colour"`},
		"an id twice":      {goodOrder, "order 2: id G-1 is taken by the order on line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := ordersFile(t, "[\n  "+goodOrder+",\n  "+tc.order+"\n]")
			out, errOut, err := quickstart(t, "-orders", file)
			if err == nil {
				t.Error("no error")
			}
			if !strings.Contains(errOut, "mine.json:3:3") || !strings.Contains(errOut, tc.want) {
				t.Errorf("told %q, want %q with its place", errOut, tc.want)
			}
			if got := table(t, out); got != "1 1 4 4 0 0 0" {
				t.Errorf("sums %s", got)
			}
		})
	}
}

func TestAMalformedFileDispatchesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"empty":           {"", "mine.json:1:1: want a JSON array"},
		"no array":        {"{}", "want a JSON array"},
		"cut off":         {"[\n" + goodOrder, "mine.json:2:"},
		"syntax":          {"[\n" + goodOrder + ",\n{\"id\": oops}]", "mine.json:3:8: order 2: malformed JSON"},
		"data afterwards": {"[" + goodOrder + "]\n[]", "mine.json:2:1: data after the array"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, _, err := quickstart(t, "-orders", ordersFile(t, tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if out != "" {
				t.Errorf("something was done:\n%s", out)
			}
		})
	}
	if _, _, err := quickstart(t, "-orders", filepath.Join(t.TempDir(), "missing.json")); err == nil {
		t.Error("no error for a missing file")
	}
}

func TestBadFlagsAreTold(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-executor", "carrier-pigeon"}, {"surplus"}, {"-colour"}} {
		if out, _, err := quickstart(t, args...); err == nil || out != "" {
			t.Errorf("%v: error %v, output %q", args, err, out)
		}
	}
}

func TestTheLedgerSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, sums := range map[string]totals{
		"lost":    {dispatched: 2, run: 1},
		"twice":   {dispatched: 2, run: 3, duplicated: 1},
		"phantom": {dispatched: 1, run: 2, phantom: 1},
		"made up": {dispatched: 1, run: 1, discarded: -1},
	} {
		if sums.balanced() == nil {
			t.Errorf("%s: %+v passes for balanced", name, sums)
		}
	}
	if err := (totals{dispatched: 3, run: 3, discarded: 2}).balanced(); err != nil {
		t.Error(err)
	}
}
