package main

import (
	"fmt"
	"math"
	"slices"
)

// A target says how one contender is to compare with another one. All that the documents
// compare is in targets.
type target struct {
	Group string
	Title string // what it is about, in pictures
	Sizes []int  // intents for each call, or slots of a worker; nil: every size
	What  measure
	Ours  string // a contender
	Over  string // the contender that it is compared with
	// Max is the largest ratio, or for allocations the largest difference. 0: there is no
	// target, and the comparison is for information.
	Max    float64
	Source string // where the target comes from
	Detail bool   // only in the queue's own picture
}

// A measure is what a target is about.
type measure string

const (
	handOver  measure = "hand-over"
	untilDone measure = "until done"
	perJob    measure = "time per job"
	allocs    measure = "allocations per job"
)

// Where targets come from.
const (
	fromAim    = "the aim for speed"
	fromBefore = "what was reached before"
	fromOutbox = "the aim of the outbox"
)

var (
	one    = []int{1}
	larger = []int{100, 1000, 10000}
)

// targets is the one list of them. One call with one intent is compared with the
// library's own call, since that is what a program would write instead. Larger ones are
// compared with the limit: the fastest known way to store the same jobs.
var targets = slices.Concat([]target{
	{Group: "pool", Title: "pool, over a pond that carries intents", Sizes: larger, What: handOver, Ours: "airlock pool", Over: "pond, a func for each intent", Max: 1, Source: fromAim},
	{Group: "pool", Title: "pool, over a pond of bare funcs", Sizes: []int{1000}, What: handOver, Ours: "airlock pool", Over: "pond", Max: 1.3, Source: fromAim},
	{Group: "pool", Title: "pool, over ants", Sizes: larger, What: handOver, Ours: "airlock pool", Over: "ants", Max: 1, Source: fromAim, Detail: true},
	{Group: "pool", Title: "pool, over conc", Sizes: larger, What: handOver, Ours: "airlock pool", Over: "conc", Max: 1, Source: fromAim, Detail: true},

	{Group: "asynq", Title: "asynq", Sizes: one, What: handOver, Ours: "airlock", Over: "asynq, loop of Enqueue", Max: 1.3, Source: fromAim},
	{Group: "asynq", Title: "asynq", Sizes: larger, What: handOver, Ours: "airlock", Over: "pipelines of the same commands", Max: 1.25, Source: fromAim},
	{Group: "asynq-distant", Title: "asynq, distant", What: handOver, Ours: "airlock", Over: "pipelines of the same commands", Detail: true},

	{Group: "work", Title: "gocraft/work", Sizes: one, What: handOver, Ours: "airlock", Over: "gocraft/work, loop of Enqueue", Max: 1.3, Source: fromAim},
	{Group: "work", Title: "gocraft/work", Sizes: larger, What: handOver, Ours: "airlock", Over: "pipelines of one script for each job", Max: 1, Source: fromBefore},
	{Group: "work-distant", Title: "gocraft/work, distant", What: handOver, Ours: "airlock", Over: "pipelines of one script for each job", Detail: true},

	{Group: "river", Title: "River on PostgreSQL", Sizes: one, What: handOver, Ours: "airlock", Over: "River, loop of Insert", Max: 1.5, Source: fromBefore},
	{Group: "river", Title: "River on PostgreSQL", Sizes: larger, What: handOver, Ours: "airlock", Over: "COPY of the same rows", Max: 1.5, Source: fromAim},
	{Group: "river", Title: "River without identity", Sizes: one, What: handOver, Ours: "airlock, NoIdentity", Over: "River, loop of Insert", Max: 1.2, Source: fromBefore},
	{Group: "river", Title: "River without identity", Sizes: larger, What: handOver, Ours: "airlock, NoIdentity", Over: "COPY without unique_key", Max: 1.2, Source: fromBefore},
	{Group: "river-sqlite", Title: "River on SQLite", Sizes: one, What: handOver, Ours: "airlock", Over: "River, loop of Insert", Max: 2, Source: fromBefore},
	{Group: "river-sqlite", Title: "River on SQLite", Sizes: larger, What: handOver, Ours: "airlock", Over: "prepared INSERTs of the same rows", Max: 2, Source: fromAim},

	{Group: "nats", Title: "NATS", Sizes: one, What: handOver, Ours: "airlock", Over: "loop of Publish", Max: 1.35, Source: fromAim},
	{Group: "nats", Title: "NATS", Sizes: larger, What: handOver, Ours: "airlock", Over: "limit: the last one's ack alone", Max: 1.35, Source: fromAim},

	{Group: "rabbitmq", Title: "RabbitMQ", Sizes: one, What: handOver, Ours: "airlock", Over: "loop, each confirm awaited"},
	{Group: "rabbitmq", Title: "RabbitMQ", Sizes: larger, What: handOver, Ours: "airlock", Over: "limit: confirms awaited at the end"},

	{Group: "celery", Title: "Celery on Redis", Sizes: one, What: handOver, Ours: "airlock", Over: "loop of LPUSH"},
	{Group: "celery", Title: "Celery on Redis", Sizes: larger, What: handOver, Ours: "airlock", Over: "limit: one LPUSH of the same bytes"},
	{Group: "celery-amqp", Title: "Celery on RabbitMQ", Sizes: one, What: handOver, Ours: "airlock", Over: "loop, each confirm awaited"},
	{Group: "celery-amqp", Title: "Celery on RabbitMQ", Sizes: larger, What: handOver, Ours: "airlock", Over: "limit: confirms awaited at the end"},

	{Group: "outbox", Title: "outbox, to store", What: handOver, Ours: "airlock, stored for a relay", Over: "plain INSERT of the same bytes", Max: 1.3, Source: fromOutbox},
	{Group: "outbox", Title: "outbox, over watermill's forwarder", Sizes: []int{10000}, What: untilDone, Ours: "airlock, stored for a relay", Over: "watermill's SQL forwarder", Max: 0.2, Source: fromOutbox},
},
	workerTargets("worker-asynq", "worker of asynq", "asynq.Server"),
	workerTargets("worker-work", "worker of gocraft/work", "work.WorkerPool"),
	workerTargets("worker-river", "worker of River", "River's client"),
	workerTargets("worker-nats", "worker of NATS", "Consume and DoubleAck"),
	workerTargets("worker-rabbitmq", "worker of RabbitMQ", "Consume and Ack"),
	workerTargets("worker-celery", "worker of Celery on Redis", "BRPOP and kombu's records"),
	workerTargets("worker-celery-amqp", "worker of Celery on RabbitMQ", "Consume and Ack"),
)

// workerTargets are the same for every queue.
func workerTargets(group, title, over string) []target {
	return []target{
		{Group: group, Title: title, What: perJob, Ours: "airlock", Over: over, Max: 1.1, Source: fromAim},
		{Group: group, Title: title, What: allocs, Ours: "airlock", Over: over, Max: 10, Source: fromAim},
	}
}

// A comparison is a target and what was measured.
type comparison struct {
	target
	Label      string  // N, or the worker's workload
	Own, Other float64 // nanoseconds, or allocations
	Value      float64 // a ratio, or a difference
}

// missed reports whether a value is beyond its limit, if there is one. It compares the
// value as it is written, with two digits after the point.
func missed(value, limit float64) bool {
	return limit > 0 && math.Round(value*100)/100 > limit
}

// texts returns the value, the target and in words whether it is met.
func (c comparison) texts() (value, limit, verdict string) {
	value, limit, verdict = fmt.Sprintf("%.2f", c.Value), fmt.Sprintf("at most %g, %s", c.Max, c.Source), "met"
	if c.What == allocs {
		value, limit = fmt.Sprintf("%+.2f", c.Value), fmt.Sprintf("at most %+g, %s", c.Max, c.Source)
	}
	switch {
	case c.Max == 0:
		return value, "none", "–"
	case missed(c.Value, c.Max):
		return value, limit, "**missed**"
	}
	return value, limit, verdict
}

// comparisons returns what the targets say about a group's rows.
func (r *Report) comparisons() []comparison {
	var list []comparison
	for _, t := range targets {
		for _, row := range r.Rows {
			if t.Group != r.Group || row.Contender != t.Ours || len(t.Sizes) > 0 && !slices.Contains(t.Sizes, row.Size) {
				continue
			}
			other := r.row(t.Over, row.Size)
			c := comparison{target: t, Label: fmt.Sprintf("N = %d", row.Size), Own: row.HandOver, Other: other.HandOver, Value: row.HandOverRatio[t.Over]}
			if t.What == untilDone {
				c.Own, c.Other, c.Value = row.Done, other.Done, row.DoneRatio[t.Over]
			}
			list = append(list, c)
		}
	}
	return list
}

func (r *Report) row(contender string, size int) Row {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Contender == contender && row.Size == size })
	if i < 0 {
		return Row{}
	}
	return r.Rows[i]
}

// comparisons returns what the targets say about a queue's workers.
func (r *WorkerReport) comparisons() []comparison {
	var list []comparison
	for _, t := range targets {
		for _, row := range r.Rows {
			if t.Group != r.Group || row.Contender != t.Ours {
				continue
			}
			i := slices.IndexFunc(r.Rows, func(o WorkerRow) bool {
				return o.Contender == t.Over && o.Slots == row.Slots && o.Wait == row.Wait
			})
			if i < 0 {
				continue
			}
			c := comparison{target: t, Label: row.workload(), Own: row.PerJob, Other: r.Rows[i].PerJob, Value: row.Ratio}
			if t.What == allocs {
				c.Own, c.Other = row.Allocs, r.Rows[i].Allocs
				c.Value = c.Own - c.Other
			}
			list = append(list, c)
		}
	}
	return list
}
