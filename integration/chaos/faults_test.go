//go:build realservers

package chaos_test

import (
	"math/rand/v2"
	"time"
)

// faults are what happens in a cell, until a time.
var faults = map[string]func(r *rig, until time.Time){
	"producers killed":      repeat(700*time.Millisecond, (*rig).killProducer),
	"workers killed":        repeat(700*time.Millisecond, (*rig).killWorker),
	"workers frozen":        repeat(500*time.Millisecond, (*rig).freezeWorker),
	"rolling deploys":       repeat(3*time.Second, (*rig).deploy),
	"server paused":         repeat(2*time.Second, (*rig).pauseServer),
	"server restarted":      repeat(2*time.Second, (*rig).restartServer),
	"server killed":         repeat(2*time.Second, (*rig).killServer),
	"processors taken":      starve,
	"all at once":           mixed((*rig).killProducer, (*rig).killWorker, (*rig).freezeWorker, (*rig).deploy, (*rig).pauseServer, (*rig).restartServer, (*rig).killServer),
	"deploys and restarts":  mixed((*rig).killProducer, (*rig).deploy, (*rig).pauseServer, (*rig).killServer),
	"no fault, the control": func(_ *rig, until time.Time) { time.Sleep(time.Until(until)) },
}

// repeat does a fault again and again with a pause in between.
func repeat(pause time.Duration, fault func(*rig)) func(*rig, time.Time) {
	return func(r *rig, until time.Time) {
		for time.Now().Before(until) {
			time.Sleep(pause/2 + rand.N(pause))
			fault(r)
		}
	}
}

// mixed does all of the faults in random order, again and again.
func mixed(all ...func(*rig)) func(*rig, time.Time) {
	return func(r *rig, until time.Time) {
		for time.Now().Before(until) {
			for _, i := range rand.Perm(len(all)) {
				time.Sleep(time.Second/2 + rand.N(time.Second))
				all[i](r)
			}
		}
	}
}

// killProducer kills a producer and starts another one.
func (r *rig) killProducer() {
	i := rand.IntN(len(r.producers))
	r.kill(r.producers[i])
	r.killedProducers++
	r.producers[i] = r.start("producer")
}

// killWorker kills a worker and starts another one.
func (r *rig) killWorker() {
	i := rand.IntN(len(r.workers))
	r.kill(r.workers[i])
	r.workers[i] = r.start("worker")
}

// freezeWorker freezes a worker until its jobs belong to others.
func (r *rig) freezeWorker() {
	r.freeze(r.workers[rand.IntN(len(r.workers))], queues[r.queue].lease+time.Second)
}

// deploy exchanges every worker for a new one. No job may run twice for that.
func (r *rig) deploy() {
	for i, old := range r.workers {
		r.workers[i] = r.start("worker")
		r.stop(old)
	}
}

func (r *rig) pauseServer() {
	r.serverAway(func() error {
		if err := r.server.Pause(); err != nil {
			return err
		}
		time.Sleep(time.Second + rand.N(2*time.Second))
		return r.server.Resume()
	})
}

func (r *rig) restartServer() { r.serverAway(r.server.Restart) }

func (r *rig) killServer() {
	r.serverAway(func() error {
		if err := r.server.Kill(); err != nil {
			return err
		}
		time.Sleep(rand.N(time.Second))
		return r.server.Restart()
	})
}

// starve takes the processors away from everybody.
func starve(r *rig, until time.Time) {
	var burners []*process
	for range 8 {
		burners = append(burners, r.start("burner"))
	}
	time.Sleep(time.Until(until))
	for _, p := range burners {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
