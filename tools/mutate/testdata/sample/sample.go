// Package sample has a function that its test covers, and one that it does not.
package sample

import "errors"

var errNegative = errors.New("negative")

// Tested has a test for every branch and bound.
func Tested(n int) (int, error) {
	if n < 0 {
		return 0, errNegative
	}
	return n + 1, nil
}

// Untested is called by the test, which does not look at the answer.
func Untested(n int) bool {
	return n > 3
}
