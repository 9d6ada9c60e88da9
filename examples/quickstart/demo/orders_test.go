package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ordersFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mine.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const goodOrder = `{"id": "G-1", "customer": "a@b", "card": "1", "lines": [{"article": "cup", "quantity": 1, "cents": 5}]}`

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
			out, errOut, err := serve(t, openers, "-executor", "sync", "-orders", file)
			if err == nil {
				t.Error("no error")
			}
			if !strings.Contains(errOut, "mine.json:3:3") || !strings.Contains(errOut, tc.want) {
				t.Errorf("printed %q, want %q with its place", errOut, tc.want)
			}
			if want := "sync 1 1 4 4 0 0 0 0"; table(t, out)[0] != want {
				t.Errorf("sums %q, want %q", table(t, out), want)
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
			out, _, err := serve(t, openers, "-executor", "sync", "-orders", ordersFile(t, tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if out != "" {
				t.Errorf("something was done:\n%s", out)
			}
		})
	}
	if _, _, err := serve(t, openers, "-executor", "sync", "-orders", filepath.Join(t.TempDir(), "missing.json")); err == nil {
		t.Error("no error for a missing file")
	}
}
