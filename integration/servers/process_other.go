//go:build !linux

package servers

import (
	"errors"
	"os/exec"
)

// inMemory knows no such file system here.
func inMemory() string { return "" }

// dieWithParent is known to Linux alone.
func dieWithParent(*exec.Cmd) {}

// An account is the user that a program runs as; nil is the one who runs the test.
type account struct{}

// unprivileged knows no other account here: as root, PostgreSQL refuses and says so.
func unprivileged() (*account, error) { return nil, nil }

func (a *account) own(string) error { return nil }

func (a *account) as(cmd *exec.Cmd) *exec.Cmd { return cmd }

// pause and resume need signals that not every system has.
func (p *process) pause() error { return errors.ErrUnsupported }

func (p *process) resume() error { return errors.ErrUnsupported }
