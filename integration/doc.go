// Package integration is the home of the tests that need real servers: servers starts and stops them, faults proves that
// broken connections are broken in the way they claim.
package integration
