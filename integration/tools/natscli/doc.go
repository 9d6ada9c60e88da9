// Package natscli tests that the nats command, github.com/nats-io/natscli, shows our
// streams, consumers and messages as the package comment of natsexec describes them.
package natscli
