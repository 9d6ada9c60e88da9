// Package inspect has the tests of the inspectors: one table of cases for every queue,
// and broken inspectors that the table must reject.
package inspect
