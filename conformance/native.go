package conformance

import (
	"bytes"
	"context"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// goldenTask is the task of golden messages.
var goldenTask = core.DeclareTask[[]byte]("conformance.golden").Codec(core.Raw)

// caught is what a handler that is not the ledger's has received.
type caught struct {
	mu      sync.Mutex
	jobs    []worker.Job
	payload [][]byte
}

func (c *caught) handle(ctx context.Context, payload []byte) error {
	j, _ := worker.JobFrom(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs, c.payload = append(c.jobs, j), append(c.payload, bytes.Clone(payload))
	return nil
}

func (c *caught) missing() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.jobs) == 0 {
		return "no handler was called"
	}
	return ""
}

func (p *probe) goldenOne(g Golden) {
	var c caught
	s := p.open(Setup{}, worker.Handle(goldenTask, c.handle))
	if err := p.outside("Golden.Put", func() error { return g.Put(p.ctx, s.setup.Namespace) }); err != nil {
		p.broken("harness: Golden %s: %v", g.Name, err)
	}
	s.awaitFunc("golden message "+g.Name+" is run", c.missing)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.samePayload(g.Payload, c.payload[0]) {
		p.fail("golden message "+g.Name+": "+show(g.Payload), "%s", show(c.payload[0]))
	}
	if g.ID != "" && c.jobs[0].ID != g.ID {
		p.fail("golden message "+g.Name+": ID "+g.ID, "%q", c.jobs[0].ID)
	}
	s.sameHeaders(g.Headers, c.jobs[0].Headers)
}

var nativeChecks = []check{
	{id: "N01", level: Options, run: nativeConsumer,
		title: "a worker that does not use airlock can read our jobs",
		why:   "producers and workers are migrated one after the other"},
	{id: "N02", level: Options, run: nativeProducer,
		title: "our worker runs jobs of a producer that does not use airlock",
		why:   "producers and workers are migrated one after the other"},
}

func nativeConsumer(p *probe) {
	if p.h.Native == nil || p.h.Native.Consume == nil {
		p.lacks("Native.Consume")
	}
	s := p.open(Setup{Paused: true})
	for _, m := range modes {
		payload := []byte(`{"native":"` + string(m) + `"}`)
		s.accept(m, s.makeRaw(payload))
		var task string
		var got []byte
		if err := p.outside("Native.Consume", func() (err error) {
			task, got, err = p.h.Native.Consume(p.ctx, s.setup.Namespace)
			return err
		}); err != nil {
			p.fail("a native worker can take the job, "+string(m), "%v", err)
		}
		if task != rawTaskName || !p.samePayload(payload, got) {
			p.fail("task "+rawTaskName+" with "+show(payload), "task %s with %s", task, show(got))
		}
	}
}

func nativeProducer(p *probe) {
	if p.h.Native == nil || p.h.Native.Produce == nil {
		p.lacks("Native.Produce")
	}
	var c caught
	s := p.open(Setup{}, worker.Handle(goldenTask, c.handle))
	payload := []byte(`{"native":[1,2]}`)
	if err := p.outside("Native.Produce", func() error {
		return p.h.Native.Produce(p.ctx, s.setup.Namespace, goldenTask.Name(), payload)
	}); err != nil {
		p.broken("harness: Native.Produce: %v", err)
	}
	s.awaitFunc("a native producer's job is run", c.missing)
	c.mu.Lock()
	j, got := c.jobs[0], c.payload[0]
	c.mu.Unlock()
	if !p.samePayload(payload, got) || j.ID == "" || j.Attempt != 1 || j.Task != goldenTask.Name() {
		p.fail("task "+goldenTask.Name()+", attempt 1, with an ID and "+show(payload), "%+v with %s", j, show(got))
	}
	jobs := s.makeN(3)
	s.accept(single, jobs...)
	s.awaitRuns(jobs)
}
