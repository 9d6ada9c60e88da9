package mutants

import (
	"bufio"
	"encoding/json"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/loopback"
	"github.com/goairlock/airlock/worker"
)

// broker is a toy queue behind a TCP port, for the checks that break connections. A
// request and a reply are one line of JSON each. What it stores survives lost
// connections and restarts.
type broker struct {
	bug  *lineBug
	port *loopback.Port

	mu       sync.Mutex // guards what follows, and the spaces
	users    int
	listener net.Listener
	conns    map[net.Conn]struct{}
	serving  sync.WaitGroup
	spaces   map[string]*space
}

// request and reply are the lines of the protocol.
type request struct {
	Op    string            `json:"op"` // put, take, renew, settle
	Space string            `json:"space"`
	Room  int               `json:"room,omitempty"`
	Jobs  []json.RawMessage `json:"jobs,omitempty"`
	Tags  []int             `json:"tags,omitempty"`
	End   worker.Action     `json:"end,omitempty"`
	After time.Duration     `json:"after,omitempty"`
	Most  int               `json:"most,omitempty"`
}

type reply struct {
	States   []core.State      `json:"states,omitempty"`
	Jobs     []json.RawMessage `json:"jobs,omitempty"`
	Tags     []int             `json:"tags,omitempty"`
	Attempts []int             `json:"attempts,omitempty"`
}

const (
	lease    = 4 * time.Second
	longPoll = 200 * time.Millisecond
)

// use starts the broker for its first user. The function that it returns stops the
// broker for the last one.
func (b *broker) use() (done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users == 0 {
		if b.port, err = loopback.Reserve(); err != nil {
			return nil, err
		}
		if err := b.start(); err != nil {
			return nil, err
		}
	}
	b.users++
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.users--; b.users == 0 {
			b.stop()
			b.port.Release()
		}
	}), nil
}

// start starts the broker. The caller holds mu.
func (b *broker) start() error {
	listener, err := net.Listen("tcp4", b.port.Addr())
	if err != nil {
		return err
	}
	b.listener, b.conns = listener, map[net.Conn]struct{}{}
	b.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			if b.listener == listener {
				b.conns[conn] = struct{}{}
				b.serving.Go(func() { b.serve(conn) })
			} else {
				conn.Close()
			}
			b.mu.Unlock()
		}
	})
	return nil
}

// stop stops the broker. The caller holds mu, which stop unlocks while it waits.
func (b *broker) stop() {
	b.listener.Close()
	b.listener = nil
	for conn := range b.conns {
		conn.Close()
	}
	b.mu.Unlock()
	b.serving.Wait()
	b.mu.Lock()
}

func (b *broker) restart() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop()
	for _, s := range b.spaces {
		if b.bug.forgetsOnRestart {
			s.jobs = nil
		}
		if b.bug.forgetsKeysOnRestart {
			clear(s.keys)
		}
		if b.bug.forgetsIDsOnRestart {
			s.ids = map[string]bool{}
		}
	}
	return b.start()
}

func (b *broker) serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for known := map[string]bool{}; ; {
		line, err := lines.ReadBytes('\n')
		var req request
		if err != nil || json.Unmarshal(line, &req) != nil {
			return
		}
		answer, err := json.Marshal(b.answer(req, known))
		if err != nil {
			return
		}
		if _, err := conn.Write(append(answer, '\n')); err != nil {
			return
		}
	}
}

func (b *broker) space(name string) *space {
	s := b.spaces[name]
	if s == nil {
		s = &space{wake: make(chan struct{}), ids: map[string]bool{}, keys: map[string]*remoteJob{}}
		b.spaces[name] = s
	}
	return s
}

func (b *broker) answer(req request, known map[string]bool) (r reply) {
	for end := time.Now().Add(longPoll); ; {
		b.mu.Lock()
		s := b.space(req.Space)
		var next time.Time
		switch req.Op {
		case "put":
			s.room = max(s.room, req.Room)
			for _, raw := range req.Jobs {
				r.States = append(r.States, b.put(s, raw, known))
			}
		case "take":
			next = s.take(max(req.Most, 1), &r)
		case "renew", "settle":
			s.settle(req)
		}
		wake := s.wake
		b.mu.Unlock()
		if req.Op != "take" || len(r.Jobs) > 0 || !time.Now().Before(end) {
			return r
		}
		if next.IsZero() || next.After(end) {
			next = end
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (b *broker) records(name string) []conformance.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []conformance.Record
	s := b.space(name)
	for _, j := range slices.Concat(s.past, s.jobs) {
		in, _ := adapter.DecodeIntent(j.raw) // what cannot be decoded has no ID
		list = append(list, conformance.Record{ID: in.ID, Task: in.Task, State: j.state})
	}
	return list
}
