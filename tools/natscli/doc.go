// Package natscli pins the nats command. Its module is not in the workspace, and
// integration/natstools builds it: what the command needs must not decide what we
// build with.
package natscli
