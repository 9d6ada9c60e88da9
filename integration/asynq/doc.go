// Package asynq tests the asynq executor on Redis: embedded, real and as a cluster.
package asynq
