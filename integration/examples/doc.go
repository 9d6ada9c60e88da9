// Package examples tests the code that the pages in docs show. Each page of
// docs/start shows a package below start, which runs here on a queue of its own.
package examples
