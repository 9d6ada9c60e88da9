// Package workers tests what the workers of all queues do alike.
package workers
