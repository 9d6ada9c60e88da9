package adapter_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

func short(native string) error {
	if native == "" || len(native) > 8 {
		return errors.New("want 1 to 8 bytes")
	}
	return nil
}

func TestQueueNamesTranslateBothWays(t *testing.T) {
	t.Parallel()
	names, err := adapter.NewQueueNames("toy", map[string]string{"mail": "Mail", "default": "Main"}, short)
	if err != nil {
		t.Fatal(err)
	}
	for portable, native := range map[string]string{"mail": "Mail", "default": "Main", "": "Main", "other": "other"} {
		if got := names.Native(portable); got != native {
			t.Errorf("Native(%q) = %q, want %q", portable, got, native)
		}
		if got := names.Portable(native); portable != "" && got != portable {
			t.Errorf("Portable(%q) = %q, want %q", native, got, portable)
		}
	}
	var none adapter.QueueNames
	if none.Native("") != "default" || none.Native("a") != "a" || none.Portable("b") != "b" || none.Check("a") != nil {
		t.Error("the zero value changes a name")
	}
}

func TestBadQueueNamesAreInvalid(t *testing.T) {
	t.Parallel()
	for what, names := range map[string]map[string]string{
		"not portable":    {"Mail": "x"},
		"empty":           {"": "x"},
		"empty native":    {"mail": ""},
		"impossible":      {"mail": "far-too-long"},
		"one native name": {"a": "x", "b": "x"},
		"the default's":   {"a": "default"},
	} {
		if _, err := adapter.NewQueueNames("toy", names, short); !errors.Is(err, core.ErrInvalid) || !strings.HasPrefix(err.Error(), "airlock: toy: QueueNames: ") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestAQueueWithTheNativeNameOfAnotherIsRefused(t *testing.T) {
	t.Parallel()
	names, err := adapter.NewQueueNames("toy", map[string]string{"mail": "post"}, short)
	if err != nil {
		t.Fatal(err)
	}
	task := core.DeclareTask[int]("names.task")
	for queue, refused := range map[string]bool{"post": true, "default": false, "mail": false, "free": false} {
		in, err := task.Intent(1, core.Queue(queue))
		if err != nil {
			t.Fatal(err)
		}
		if got := names.Check(queue); errors.Is(got, core.ErrInvalid) != refused {
			t.Errorf("Check(%q): %v", queue, got)
		}
		var oe *core.OptionError
		if got := names.Refuse(&in); errors.As(got, &oe) != refused || refused && (oe.Option != core.OptionQueue || oe.Executor != "toy") {
			t.Errorf("Refuse(%q): %v", queue, got)
		}
	}
}

func TestAWorkerWorksWhatItIsGivenOrElseWhatItsTasksName(t *testing.T) {
	t.Parallel()
	names, err := adapter.NewQueueNames("toy", map[string]string{"mail": "post"}, short)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ given, ofTasks, want []string }{
		{nil, nil, []string{"default"}},
		{nil, []string{"default", "mail"}, []string{"default", "mail"}},
		{nil, []string{"mail"}, []string{"default", "mail"}},
		{[]string{"b", "a"}, []string{"mail"}, []string{"b", "a"}},
	} {
		if got, err := names.Worked(c.given, c.ofTasks); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Worked(%q, %q) = %q, %v, want %q", c.given, c.ofTasks, got, err, c.want)
		}
	}
	if _, err := names.Worked([]string{}, nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("no queue: %v", err)
	}
	for _, bad := range [][]string{{"Bad"}, {"post"}, {""}, {"a", "a"}} {
		if _, err := names.Worked(bad, nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("Worked(%q): %v", bad, err)
		}
	}
}
