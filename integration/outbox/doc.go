// Package outbox tests the outbox with real databases and drivers.
package outbox
