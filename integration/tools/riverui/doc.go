// Package riverui tests that River's web interface, riverqueue.com/riverui, shows our
// jobs and can cancel and retry them.
package riverui
