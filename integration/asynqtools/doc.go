// Package asynqtools proves that asynq's own web monitor can work with our jobs.
// It is a module of its own, for what asynqmon needs is nobody else's.
package asynqtools
