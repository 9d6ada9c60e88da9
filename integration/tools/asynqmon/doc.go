// Package asynqmon tests that asynq's web interface, github.com/hibiken/asynqmon,
// shows our jobs and can run, archive and delete them.
package asynqmon
