// Package cli pins the nats command. Its module is not in the workspace, and is
// built by the test beside it: what the command needs must not decide what we
// build with.
package cli
