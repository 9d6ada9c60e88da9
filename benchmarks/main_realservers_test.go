//go:build realservers

package main

import (
	"slices"
	"testing"
)

func TestEveryGroupOnARealServerRuns(t *testing.T) {
	for _, g := range all() {
		if !slices.Contains(embedded, g.name()) {
			t.Run(g.name(), func(t *testing.T) { t.Parallel(); testGroup(t, g) })
		}
	}
}
