// Package quickstart tests examples/quickstart with real servers.
package quickstart
