package conformance

import (
	"bytes"
	"context"
	"sync"

	"github.com/goairlock/airlock/core"
)

// goldenTask is the task of golden messages.
var goldenTask = core.DeclareTask[[]byte]("conformance.golden").Codec(core.Raw)

// caught is what a handler outside the ledger got.
type caught struct {
	mu      sync.Mutex
	jobs    []core.Job
	payload [][]byte
}

func (c *caught) handle(ctx context.Context, payload []byte) error {
	j, _ := core.JobFrom(ctx)
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
	s := p.open(Setup{}, core.Handle(goldenTask, c.handle))
	if err := g.Put(p.ctx, s.setup.Namespace); err != nil {
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
