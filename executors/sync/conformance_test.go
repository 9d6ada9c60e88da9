package syncexec_test

import (
	"testing"

	"github.com/goairlock/airlock/conformance"
	syncexec "github.com/goairlock/airlock/executors/sync"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Harness{
		Subject:  conformance.Subject{Name: "sync", Module: "github.com/goairlock/airlock/executors/sync"},
		InBubble: true,
		New: func(ct conformance.T, s conformance.Setup) conformance.System {
			exec, err := syncexec.New(&syncexec.Options{Registry: s.Registry})
			if err != nil {
				ct.Fatalf("New: %v", err)
			}
			return conformance.System{Exec: exec.Execute, Caps: exec.Capabilities(), Inline: true}
		},
	})
}
