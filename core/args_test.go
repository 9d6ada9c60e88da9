package core_test

import (
	"errors"
	"testing"

	"github.com/goairlock/airlock/core"
)

type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { return []byte("1"), nil }
func (*explosive) UnmarshalJSON([]byte) error  { panic("kaboom") }

func TestArgsAreThoseOfTheIntent(t *testing.T) {
	t.Parallel()
	task, other := core.DeclareTask[int]("demo.one"), core.DeclareTask[string]("demo.two")
	in, err := task.Intent(7)
	if err != nil {
		t.Fatal(err)
	}
	if args, err := task.Args(in); args != 7 || err != nil {
		t.Errorf("Args = %d, %v", args, err)
	}
	bad := core.DeclareTask[explosive]("demo.one")
	for name, err := range map[string]error{
		"another task": second(other.Args(in)),
		"zero task":    second(core.Task[int]{}.Args(in)),
		"bad task":     second(core.DeclareTask[int]("").Args(in)),
		"other type":   second(core.DeclareTask[string]("demo.one").Args(in)),
		"panic":        second(bad.Args(in)),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func second[A any](_ A, err error) error { return err }
