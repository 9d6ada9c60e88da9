package main

import (
	"os"
	"strings"
	"testing"
)

func Example() {
	main()
	// Unordered output:
	// mail: receipt for order A-1
	// order A-1 error: <nil>
	// order A-2 error: card declined
}

func TestTheREADMEShowsThisProgram(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(program)+"```\n") {
		t.Error("the README's example is not main.go: copy it")
	}
}
