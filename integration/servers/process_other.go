//go:build !linux

package servers

import "os/exec"

// dieWithParent is known to Linux alone.
func dieWithParent(*exec.Cmd) {}

// An account is the user that a program runs as; nil is the one who runs the test.
type account struct{}

// unprivileged knows no other account here: as root, PostgreSQL refuses and says so.
func unprivileged() (*account, error) { return nil, nil }

func (a *account) own(string) error { return nil }

func (a *account) as(cmd *exec.Cmd) *exec.Cmd { return cmd }
