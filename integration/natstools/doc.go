// Package natstools proves that the nats command, which nobody here wrote, shows our streams, consumers and messages as the
// package comment of natsexec has them.
package natstools
