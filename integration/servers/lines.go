package servers

import (
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/faultproxy"
)

// Lines are the two ways from a system of the conformance suite to its server.
type Lines struct {
	// ExecutorAddr and WorkerAddr are where executor and worker find the server.
	ExecutorAddr, WorkerAddr string
	// Executor and Worker are the proxies on these ways; nil where the check asks for none.
	Executor, Worker *faultproxy.Proxy
}

// NewLines makes the ways to addr that s asks for, which end with the check. Where it asks for no faults they lead straight to
// the server.
func NewLines(t conformance.T, s conformance.Setup, addr string) Lines {
	l := Lines{ExecutorAddr: addr, WorkerAddr: addr}
	if !s.Faults {
		return l
	}
	for _, way := range []struct {
		proxy **faultproxy.Proxy
		addr  *string
	}{{&l.Executor, &l.ExecutorAddr}, {&l.Worker, &l.WorkerAddr}} {
		proxy, err := faultproxy.New(addr)
		if err != nil {
			t.Fatalf("servers: %v", err)
		}
		t.Cleanup(proxy.Close)
		*way.proxy, *way.addr = proxy, proxy.Addr()
	}
	return l
}

// Give hands the proxies to the suite.
func (l Lines) Give(sys *conformance.System) { sys.Proxy, sys.WorkerProxy = l.Executor, l.Worker }
