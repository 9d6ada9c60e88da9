package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

var flappingChecks = []check{
	{id: "F04", level: Faults, run: badLine, bare: true, cases: []string{"lost", "reset", "sliced", "slow"}, limit: time.Minute,
		title: "no job is lost or runs twice when requests are lost, interrupted, slow or in pieces",
		why:   "all of this happens in networks"},
	{id: "F05", level: Faults, run: flapping, cases: []string{"stopped", "running", "starting"}, limit: 2 * time.Minute,
		title: "while connections break again and again, no accepted job is lost and no refused job runs",
		why:   "this is what happens during an incident"},
}

func badLine(p *probe) {
	s := p.faulty(Setup{Slots: 4})
	map[string]func(*subject){
		"lost": (*subject).lostRequests, "reset": (*subject).resetCalls, "sliced": (*subject).slicedLine, "slow": (*subject).slowLine,
	}[p.caseOf](s)
	s.balance()
}

// lostRequests loses requests. Nothing of them can be stored until the client sends
// them again.
func (s *subject) lostRequests() {
	for range s.p.rounds(2) {
		for _, n := range callSizes {
			s.warm(func() []job { return s.makeN(n) })
			before := s.sys.Proxy.Stats().LostRequestBytes
			s.broke("lose requests", false)
			s.sys.Proxy.LoseRequests()
			c := s.begin(s.makeN(n)...)
			if c.sees(func(now faultproxy.Stats) bool { return now.LostRequestBytes > before }) {
				s.p.witness("lost", 1)
				s.sys.Proxy.Reset()
			}
			c.finish()
			s.heal()
		}
	}
	if s.p.result.Witness["lost"] == 0 {
		s.p.inconclusive("no request was lost")
	}
}

// resetCalls resets connections during calls.
func (s *subject) resetCalls() {
	for range s.p.rounds(10) {
		for _, n := range callSizes {
			before := s.sys.Proxy.Stats()
			c := s.begin(s.makeN(n)...)
			c.sees(func(now faultproxy.Stats) bool { return now.RequestBytes > before.RequestBytes })
			s.broke("reset", false)
			s.sys.Proxy.Reset()
			c.finish()
			if s.sys.Proxy.Stats().Cut > before.Cut {
				s.p.witness("reset", 1)
			}
			s.heal()
		}
	}
	if s.p.result.Witness["reset"] == 0 {
		s.p.inconclusive("no connection was open to be reset")
	}
}

// slicedLine passes everything on byte by byte, first for the executor and then for
// the worker.
func (s *subject) slicedLine() {
	s.warm(func() []job { return s.makeN(2) })
	body := json.RawMessage(`"` + strings.Repeat("ä, ", 500) + `"`)
	s.onEachLine("slice", func(proxy *faultproxy.Proxy) { proxy.Slice(1) }, func(m mode) {
		jobs := make([]job, 5)
		for i := range jobs {
			jobs[i] = s.makeBody(nil, body)
		}
		s.accept(m, jobs...)
		s.awaitRuns(jobs)
		for _, j := range jobs {
			if got := s.runsOf(j.ref)[0].Body; !bytes.Equal(got, body) && !s.p.samePayload(body, got) {
				s.p.fail("a payload that arrives in pieces is complete: "+show(body), "%s", show(got))
			}
		}
	}, func(now faultproxy.Stats) int64 { return now.Pieces })
}

// slowLine makes a round trip take 600 ms. No client may conclude from this that its
// backend is down. A second is too much for some: FetchNoWait of nats.go v1.55.0
// (jetstream/pull.go) gives up after that time.
func (s *subject) slowLine() {
	s.warm(func() []job { return s.makeN(3) })
	s.onEachLine("slow", func(proxy *faultproxy.Proxy) { proxy.Delay(300 * time.Millisecond) }, func(m mode) {
		jobs := s.makeN(map[mode]int{single: 1, batch: 10}[m])
		s.accept(m, jobs...)
		s.awaitRuns(jobs)
	}, func(now faultproxy.Stats) int64 { return now.Delayed })
}

// onEachLine does something while the executor's connection has a fault, and then
// while the worker's has one. Afterwards everything must balance.
func (s *subject) onEachLine(what string, fault func(*faultproxy.Proxy), do func(mode), witness func(faultproxy.Stats) int64) {
	for i, proxy := range s.proxies() {
		before := witness(proxy.Stats())
		s.broke(what, i > 0)
		fault(proxy)
		for _, m := range modes {
			do(m)
		}
		if witness(proxy.Stats()) == before {
			s.p.inconclusive("%s: nothing was sent", what)
		}
		s.endFaults()
		s.balance()
	}
}

// The number of producers of F05, and how many jobs each sends at most.
const producers, mostEach = 8, 1000

// flapping sends jobs while connections break in many ways. Jobs without a definite
// answer are sent again at the end. Then everything must balance.
func flapping(p *probe) {
	if p.caseOf == "starting" {
		starting(p)
		return
	}
	s := p.faulty(Setup{Paused: p.caseOf == "stopped", Slots: 4})
	s.warm(func() []job { return s.makeN(3) })
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	var faults sync.WaitGroup
	var acked, unknown atomic.Int64
	if s.sys.WorkerProxy != nil && p.caseOf == "running" && p.recoversSoon() {
		faults.Go(func() { p.contain(func() { s.flap(ctx, s.sys.WorkerProxy, true, func() {}) }) })
	}
	faults.Go(func() {
		defer stop()
		p.contain(func() {
			n := 0
			s.flap(ctx, s.sys.Proxy, false, func() {
				before := acked.Load() // the executor must work again between two faults
				s.await(p.patience(), func() bool { return acked.Load() > before || ctx.Err() != nil })
				if n++; n == p.rounds(12) {
					stop()
				}
			})
		})
	})
	var undecided [producers][]job
	p.together(producers, func(i int) {
		for n := 0; ctx.Err() == nil && n < mostEach*p.h.effort(); p.sleep(20 * time.Millisecond) {
			jobs := s.makeN(1 + n%4)
			n += len(jobs)
			c := s.begin(jobs...)
			c.finish()
			for k, o := range c.outs {
				switch o.State {
				case core.Accepted:
					acked.Add(1)
				case core.Unknown:
					unknown.Add(1)
					fallthrough
				default:
					undecided[i] = append(undecided[i], jobs[k])
				}
			}
			s.noted()
		}
	})
	stop()
	s.noted()
	faults.Wait()
	p.endIfDecided()
	s.heal()
	if s.remembers() {
		for _, jobs := range undecided {
			s.insist(jobs...)
		}
	}
	s.start()
	t := s.balance()
	p.witness("unknown", int(unknown.Load()))
	p.witness("accepted meanwhile", int(acked.Load()))
	if acked.Load() == 0 || unknown.Load() == 0 {
		p.inconclusive("accepted meanwhile: %d, unknown: %d; %+v", acked.Load(), unknown.Load(), t)
	}
}

// starting starts workers whose connections break meanwhile. Each must run its jobs once
// they no longer break, without another start.
func starting(p *probe) {
	systems := make([]*subject, p.rounds(3))
	for i := range systems {
		systems[i] = p.faulty(Setup{Paused: true, Slots: 1})
	}
	p.together(len(systems), func(i int) {
		s := systems[i]
		proxies := s.proxies()
		proxy := proxies[len(proxies)-1] // the worker's, if it has one of its own
		s.accept(batch, s.makeN(3)...)
		before := proxy.Stats().Cut
		s.broke("cut", true)
		proxy.CutAfter(0)
		s.start()
		ctx, cancel := context.WithTimeout(p.ctx, p.patience())
		if proxy.WaitFor(ctx, func(now faultproxy.Stats) bool { return now.Cut > before }) == nil {
			p.witness("broken while a worker started", 1)
		}
		cancel()
		for range 10 {
			p.mu.Lock()
			size, pause := p.rand.Int64N(3000), time.Duration(p.rand.Int64N(int64(20*time.Millisecond)))
			p.mu.Unlock()
			proxy.CutAfter(size)
			p.sleep(pause)
			proxy.Reset()
		}
		s.heal()
		s.balance()
	})
}

// noted wakes up goroutines that wait for a change.
func (l *ledger) noted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change()
}

// flap breaks one connection again and again, in an order that depends on the seed.
// It calls healed each time the connection works again.
func (s *subject) flap(ctx context.Context, proxy *faultproxy.Proxy, working bool, healed func()) {
	p := s.p
	pause := func() {
		timer := time.NewTimer(100 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		p.mu.Lock()
		kind, size := p.rand.IntN(6), p.rand.Int64N(4000)
		p.mu.Unlock()
		s.broke([]string{"reset", "cut", "lose replies", "lose requests", "down", "slow"}[kind], working)
		switch kind {
		case 0:
			proxy.Reset()
		case 1:
			proxy.CutAfter(size)
		case 2:
			proxy.LoseReplies()
		case 3:
			proxy.LoseRequests()
		case 4:
			proxy.Down()
		case 5:
			proxy.Delay(20 * time.Millisecond)
		}
		pause()
		if err := proxy.Heal(); err != nil {
			p.broken("proxy: %v", err)
		}
		healed()
		pause()
	}
}
