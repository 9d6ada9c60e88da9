package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/metrics"
	"sync"
	"time"
)

// WorkerGroup is a queue whose workers are compared: ours with the library's own,
// with the same jobs and the same handler.
//
// To add a queue, write one file with a func that returns a WorkerGroup and add that
// to workerGroups.
type WorkerGroup struct {
	Name      string   // of its file, and for -only
	Queue     string   // whose picture and chapter it is in
	Title     string   // what is done, for people
	Libraries []string // modules whose versions matter
	// Setup makes the workers of a run, with the servers of a world. What ends them is
	// among the world's cleanups.
	Setup func(ctx context.Context, w *world) ([]WorkerContender, error)
}

// WorkerContender is one way to work a queue.
type WorkerContender struct {
	Name string
	// Reference marks the worker that the others are compared with: the library's own.
	Reference bool
	// Fill stores n jobs of benchTask for this contender's workers. The time that it
	// takes counts only in the start latency, where n is 1, so all contenders of a
	// group fill in the same way. The queue is empty before it.
	Fill func(ctx context.Context, n int) error
	// Start starts a worker with a number of slots. It decodes the arguments of each
	// job, calls handle and records the job's end. stop ends the worker, and returns
	// once the end of every job that ran is recorded.
	Start func(ctx context.Context, slots int, handle func()) (stop func() error, err error)
	// Left returns how many jobs are neither done nor dead. After stop it must be 0.
	Left func(ctx context.Context) (int, error)
}

// A workload is one of the profiles that every worker is measured with.
type workload struct {
	slots int
	wait  time.Duration // of the handler
	jobs  int
}

var workloads = []workload{
	{slots: 10, jobs: 5000},
	{slots: 100, jobs: 5000},
	{slots: 10, wait: 5 * time.Millisecond, jobs: 1000},
	{slots: 100, wait: 5 * time.Millisecond, jobs: 5000},
}

const (
	latencySlots  = 10
	latencyProbes = 10                    // for each round
	latencyPause  = 20 * time.Millisecond // at most, before each probe: pollers are met at any point of their pause
)

// WorkerReport is what was measured of a queue's workers.
type WorkerReport struct {
	Group       string
	Title       string
	Reference   string // the contender that the others are compared with
	Environment Environment
	Rows        []WorkerRow
	Latencies   []LatencyRow
}

// WorkerRow is one worker with one workload. Times are medians over the rounds, in
// nanoseconds; ratios are medians of the ratio within each round.
type WorkerRow struct {
	Contender  string
	Slots      int
	Rounds     int
	Wait       float64 // of the handler
	PerJob     float64 // from the first start to the last end, for each job
	Ratio      float64 // over the reference
	CPU        float64 // for each job, of this process: without the server's
	CPURatio   float64
	Allocs     float64 // for each job
	Drain      float64 // from stop, with a job in every slot, to its return
	DrainRatio float64
}

// LatencyRow is how long a job took from its enqueuing to its start, on a queue without jobs.
type LatencyRow struct {
	Contender string
	P50, P99  float64
	Ratio     float64 // of P50 over the reference's
}

type workerSample struct{ perJob, cpu, allocs, drain float64 }

func (g WorkerGroup) name() string  { return g.Name }
func (g WorkerGroup) queue() string { return g.Queue }

func (g WorkerGroup) measure(ctx context.Context, e effort) (report, error) {
	w := newWorld()
	defer w.close()
	contenders, err := g.Setup(ctx, w)
	if err != nil {
		return nil, err
	}
	reference, err := referenceOf(len(contenders), func(i int) bool { return contenders[i].Reference })
	if err != nil {
		return nil, err
	}
	keep := warmHeap()
	defer keep()
	share := e.share(len(workloads) + 1) // one for the latency
	r := &WorkerReport{Group: g.Name, Title: g.Title, Reference: contenders[reference].Name, Environment: w.environment(g.Libraries)}
	for _, load := range workloads {
		load.jobs = e.jobs(load)
		samples := make([][]workerSample, len(contenders))
		if err := interleave(ctx, len(contenders), share, func(i int, warm bool) error {
			s, err := contenders[i].throughput(ctx, load)
			if err != nil {
				return fmt.Errorf("%s: %d slots: %w", contenders[i].Name, load.slots, err)
			}
			if warm {
				samples[i] = append(samples[i], s)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		for i := range contenders {
			r.Rows = append(r.Rows, newWorkerRow(contenders[i].Name, load, samples[i], samples[reference]))
		}
	}
	latencies := make([][]float64, len(contenders))
	if err := interleave(ctx, len(contenders), share, func(i int, warm bool) error {
		took, err := contenders[i].latency(ctx, e.probes())
		if err != nil {
			return fmt.Errorf("%s: latency: %w", contenders[i].Name, err)
		}
		if warm {
			latencies[i] = append(latencies[i], took...)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for i := range contenders {
		p50 := quantile(latencies[i], 0.5)
		r.Latencies = append(r.Latencies, LatencyRow{
			Contender: contenders[i].Name, P50: p50, P99: quantile(latencies[i], 0.99), Ratio: p50 / quantile(latencies[reference], 0.5),
		})
	}
	return r, nil
}

// jobsPatience bounds every wait for jobs.
const jobsPatience = time.Minute

// throughput has a worker run the jobs of a workload, and then stops one that has a job
// in every slot.
func (c *WorkerContender) throughput(ctx context.Context, load workload) (s workerSample, err error) {
	if err := c.Fill(ctx, load.jobs); err != nil {
		return s, err
	}
	type mark struct {
		at     time.Time
		cpu    time.Duration
		allocs uint64
	}
	var mu sync.Mutex
	var begin, last mark
	begun, ended := 0, 0
	done := make(chan struct{})
	stop, err := c.Start(ctx, load.slots, func() {
		mu.Lock()
		if begun++; begun == 1 {
			begin = mark{time.Now(), cpuTime(), allocated()}
		}
		mu.Unlock()
		if load.wait > 0 {
			time.Sleep(load.wait)
		}
		mu.Lock()
		defer mu.Unlock()
		if ended++; ended == load.jobs {
			last = mark{time.Now(), cpuTime(), allocated()}
			close(done)
		}
	})
	if err != nil {
		return s, err
	}
	waitErr := await(ctx, done)
	if err := errors.Join(waitErr, stop()); err != nil {
		return s, fmt.Errorf("%d of %d jobs ran: %w", ended, load.jobs, err)
	}
	if err := c.wantNothingLeft(ctx); err != nil {
		return s, err
	}
	n := float64(load.jobs)
	s.perJob = float64(last.at.Sub(begin.at)) / n
	s.cpu = float64(last.cpu-begin.cpu) / n
	s.allocs = float64(last.allocs-begin.allocs) / n
	s.drain, err = c.drain(ctx, load)
	return s, err
}

// drain measures the stop of a worker that runs as many jobs as it has slots.
func (c *WorkerContender) drain(ctx context.Context, load workload) (float64, error) {
	if err := c.Fill(ctx, load.slots); err != nil {
		return 0, err
	}
	var begun sync.WaitGroup
	begun.Add(load.slots)
	all, proceed := make(chan struct{}), make(chan struct{})
	go func() { begun.Wait(); close(all) }()
	stop, err := c.Start(ctx, load.slots, func() { begun.Done(); <-proceed; time.Sleep(load.wait) })
	if err != nil {
		return 0, err
	}
	waitErr := await(ctx, all)
	close(proceed)
	began := time.Now()
	stopErr := stop()
	took := time.Since(began)
	if err := errors.Join(waitErr, stopErr); err != nil {
		return 0, fmt.Errorf("drain: %w", err)
	}
	return float64(took), c.wantNothingLeft(ctx)
}

func (c *WorkerContender) wantNothingLeft(ctx context.Context) error {
	left, err := c.Left(ctx)
	if err == nil && left > 0 {
		err = fmt.Errorf("%d jobs are left", left)
	}
	return err
}

// latency returns the times from the begin of a job's enqueuing to its start.
func (c *WorkerContender) latency(ctx context.Context, probes int) ([]float64, error) {
	started := make(chan time.Time, 1)
	stop, err := c.Start(ctx, latencySlots, func() { started <- time.Now() })
	if err != nil {
		return nil, err
	}
	var took []float64
	for probe := range probes + 1 {
		time.Sleep(rand.N(latencyPause))
		began := time.Now()
		if err = c.Fill(ctx, 1); err != nil {
			break
		}
		limited, cancel := context.WithTimeout(ctx, jobsPatience)
		select {
		case at := <-started:
			if probe > 0 { // the first one waits for the worker to be ready
				took = append(took, float64(at.Sub(began)))
			}
		case <-limited.Done():
			err = errors.New("the job does not start")
		}
		cancel()
		if err != nil {
			break
		}
	}
	return took, errors.Join(err, stop())
}

func await(ctx context.Context, done <-chan struct{}) error {
	limited, cancel := context.WithTimeout(ctx, jobsPatience)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-limited.Done():
		return fmt.Errorf("jobs do not run: %w", limited.Err())
	}
}

// allocated is how many objects this process has allocated. Reading it does not stop
// the world.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
