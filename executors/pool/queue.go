package poolexec

import "github.com/goairlock/airlock/core"

const blockLen = 64 // one bit each in a uint64

// block is a stretch of a queue. Intents of a batch are copied into it in bulk,
// which is most of what a hand-over costs.
type block struct {
	intents [blockLen]core.Intent
	runs    [blockLen]int // how often the job has been run already
	// noted has a bit for each intent whose ID is in Executor.known. The others
	// are noted when their turn comes, or before any call to which it matters.
	noted uint64
	// repeats has a bit for each intent that is another one sent again, to be
	// dropped when its turn comes.
	repeats    uint64
	head, tail int
	next       *block
}

// blockList keeps a few blocks for use again. A sync.Pool would do, but for what
// it costs to get back there what another thread has put in.
type blockList struct {
	first *block
	len   int
}

const maxSpareBlocks = 32 // half a megabyte

func (l *blockList) get() *block {
	b := l.first
	if b == nil {
		return new(block)
	}
	l.first, b.next = b.next, nil
	l.len--
	return b
}

func (l *blockList) put(b *block) {
	if l.len == maxSpareBlocks {
		return
	}
	b.noted, b.repeats, b.head, b.tail = 0, 0, 0, 0
	b.next, l.first = l.first, b
	l.len++
}

// queue holds the due jobs of one priority, first in first out.
type queue struct{ first, last *block }

// tail returns the block to add to.
func (q *queue) tail(spare *blockList) *block {
	if q.last == nil || q.last.tail == blockLen {
		b := spare.get()
		if q.last == nil {
			q.first = b
		} else {
			q.last.next = b
		}
		q.last = b
	}
	return q.last
}

// push adds a job whose ID is noted.
func (q *queue) push(spare *blockList, in *core.Intent, runs int) {
	b := q.tail(spare)
	b.intents[b.tail], b.runs[b.tail] = *in, runs
	b.noted |= 1 << b.tail
	b.tail++
}

// pushNew adds first deliveries whose IDs are not noted.
func (q *queue) pushNew(spare *blockList, intents []core.Intent) {
	for len(intents) > 0 {
		b := q.tail(spare)
		n := copy(b.intents[b.tail:], intents)
		b.tail += n
		intents = intents[n:]
	}
}

// pop moves the first job of a queue that has one to j.
func (q *queue) pop(spare *blockList, j *job) (noted, repeat bool) {
	b := q.first
	i := b.head
	j.in, j.runs = b.intents[i], b.runs[i]
	noted, repeat = b.noted&(1<<i) != 0, b.repeats&(1<<i) != 0
	b.intents[i], b.runs[i] = core.Intent{}, 0 // what is done must not be kept in memory
	b.head++
	if b.head == b.tail {
		q.first = b.next
		if q.first == nil {
			q.last = nil
		}
		spare.put(b)
	}
	return noted, repeat
}

// note calls add for each job whose ID is not noted, and marks as repeats those
// for which it returns false.
func (q *queue) note(add func(id string) bool) {
	for b := q.first; b != nil; b = b.next {
		for i := b.head; i < b.tail; i++ {
			if b.noted&(1<<i) != 0 {
				continue
			}
			b.noted |= 1 << i
			if !add(b.intents[i].ID) {
				b.repeats |= 1 << i
			}
		}
	}
}

// job is an accepted intent.
type job struct {
	in   core.Intent
	runs int // how often it has been run already, not counting snoozes
}
