// Package integration starts the real servers that the tests run against.
package integration
