package mutants

import (
	"bufio"
	"encoding/json"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/loopback"
)

// broker is a toy queue behind a TCP port, for the checks that break
// connections: one line of JSON in each direction per request. What it stores
// outlives its connections and its restarts.
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

// space is what a broker keeps of one namespace.
type space struct {
	room    int // how many may wait; 0 for any number
	wake    chan struct{}
	jobs    []*remoteJob // that wait or run
	past    []*remoteJob
	ids     map[string]bool
	keys    map[string]*remoteJob
	nextTag int
}

// remoteJob is a stored job. Its tag changes with each delivery, so that a
// worker that has lost its lease can do no harm.
type remoteJob struct {
	id, key string
	raw     json.RawMessage
	state   conformance.RecordState
	attempt int
	tag     int
	until   time.Time // of its lease, or not before when it is run
}

// request and reply are the lines of the protocol.
type request struct {
	Op    string            `json:"op"` // put, take, renew, settle
	Space string            `json:"space"`
	Room  int               `json:"room,omitempty"`
	Jobs  []json.RawMessage `json:"jobs,omitempty"`
	Tags  []int             `json:"tags,omitempty"`
	End   core.Action       `json:"end,omitempty"`
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
	lease    = 2 * time.Second
	longPoll = 200 * time.Millisecond
)

// use starts the broker for its first user; the function it returns stops it
// for the last one.
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

// start needs mu.
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

// stop needs mu, and lets go of it while it waits.
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

func (s *space) stir() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// put stores one job. known is what came on the same connection.
func (b *broker) put(s *space, raw json.RawMessage, known map[string]bool) core.State {
	j := &remoteJob{raw: raw, state: conformance.Waiting, attempt: 1}
	again := core.Accepted
	if in, err := core.DecodeIntent(raw); err == nil {
		j.id = in.ID
		if key := in.Options.Unique; key != "" {
			j.key = in.Task + "\n" + key
		}
		if in.ChosenID() {
			again = core.Duplicate
		}
	}
	seen := s.ids[j.id] && (!b.bug.idsPerConnection || known["id "+j.id])
	taken := s.keys[j.key] != nil && (!b.bug.keysPerConnection || known["key "+j.key])
	switch {
	case j.id != "" && seen:
		return again
	case j.key != "" && taken:
		return core.Duplicate
	}
	if s.room > 0 && s.waiting() >= s.room {
		if !b.bug.dropsOldest {
			return core.NotSent
		}
		i := slices.IndexFunc(s.jobs, func(j *remoteJob) bool { return j.state == conformance.Waiting })
		s.jobs = slices.Delete(s.jobs, i, i+1)
	}
	s.ids[j.id], known["id "+j.id], known["key "+j.key] = true, true, true
	if j.key != "" {
		s.keys[j.key] = j
	}
	s.jobs = append(s.jobs, j)
	s.stir()
	return core.Accepted
}

func (s *space) waiting() int {
	n := 0
	for _, j := range s.jobs {
		if j.state == conformance.Waiting {
			n++
		}
	}
	return n
}

// take leases jobs that wait or whose lease is over, or says when to look again.
func (s *space) take(most int, r *reply) (next time.Time) {
	now := time.Now()
	for _, j := range s.jobs {
		switch {
		case len(r.Jobs) == most:
		case j.until.After(now):
			if next.IsZero() || j.until.Before(next) {
				next = j.until
			}
		default:
			s.nextTag++
			if j.state == conformance.Running {
				j.attempt++
			}
			j.state, j.tag, j.until = conformance.Running, s.nextTag, now.Add(lease)
			r.Jobs, r.Tags, r.Attempts = append(r.Jobs, j.raw), append(r.Tags, j.tag), append(r.Attempts, j.attempt)
		}
	}
	return next
}

// settle does what a worker says of the jobs that it holds.
func (s *space) settle(req request) {
	for _, j := range s.jobs {
		if j.state != conformance.Running || !slices.Contains(req.Tags, j.tag) {
			continue
		}
		switch {
		case req.Op == "renew":
			j.until = time.Now().Add(lease)
		case req.End == core.Retry:
			j.attempt++
			j.state, j.until = conformance.Waiting, time.Now().Add(max(req.After, ownBackoff))
		case req.End == core.Snoozed:
			j.state, j.until = conformance.Waiting, time.Now().Add(req.After)
		case req.End == core.Done:
			j.state = conformance.Finished
		case req.End == core.Dead:
			j.state = conformance.Buried
		}
	}
	s.jobs = slices.DeleteFunc(s.jobs, func(j *remoteJob) bool {
		over := j.state == conformance.Finished || j.state == conformance.Buried
		if over {
			s.past = append(s.past, j)
			delete(s.keys, j.key)
		}
		return over
	})
	s.stir()
}

func (b *broker) records(name string) []conformance.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []conformance.Record
	s := b.space(name)
	for _, j := range slices.Concat(s.past, s.jobs) {
		in, _ := core.DecodeIntent(j.raw) // what cannot be understood has no ID
		list = append(list, conformance.Record{ID: in.ID, Task: in.Task, State: j.state})
	}
	return list
}
