// Package service tests examples/service from end to end, on every queue.
package service
