package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Relay sends the rows of an outbox to an executor. [NewRelay] makes it.
type Relay struct {
	box    *Box
	db     DB
	exec   core.Executor
	set    RelayOptions
	window core.Window
	atomic bool
	run    chan struct{} // has a value while nobody runs the relay
}

// NewRelay makes a relay. It does no I/O. exec is mostly the executor that the box
// is for. It can have wrappers of package compose around it. If both say which
// executor they are and it is not the same, NewRelay returns [core.ErrInvalid]: the
// rows were checked for the other one. To move waiting rows to a new queue, make a
// box For the new executor with the Destination of the old one.
//
// It also returns [core.ErrInvalid] for a nil or zero box, database or executor, and
// for values out of range.
func NewRelay(box *Box, db DB, exec core.Executor, opts *RelayOptions) (*Relay, error) {
	if err := box.usable(db); err != nil {
		return nil, err
	}
	if db == nil {
		return nil, errNilDB
	}
	r := &Relay{box: box, db: db, exec: exec, run: make(chan struct{}, 1)}
	r.run <- struct{}{}
	if opts != nil {
		r.set = *opts
	}
	if err := r.set.complete(box); err != nil {
		return nil, err
	}
	if err := exec.Check(context.Background()); err != nil {
		return nil, fmt.Errorf("airlock: outbox: the relay's executor: %w", err)
	}
	if caps, ok := exec.Capabilities(); ok {
		if want := box.caps.Executor; want != "" && caps.Executor != "" && want != caps.Executor {
			return nil, fmt.Errorf("airlock: outbox: the relay's executor is %s, the rows are checked for %s: %w", caps.Executor, want, core.ErrInvalid)
		}
		r.window, r.atomic = caps.IDWindow, caps.AtomicBatch
	}
	return r, nil
}

// Run sends rows until ctx ends. Then it takes no more rows, lets the dispatch that
// is under way end within DrainTimeout, and returns nil. It waits for the background
// work of the box too, see [Box.Close].
//
// A row that a later version of this module has written, with an encoding that this one
// does not know, is parked: every minute a relay looks at it again, so that a newer one
// can send it. It uses up no attempt. Report.Err then is worker.ErrLaterVersion for
// errors.Is. With [Options.Ordered] its partition waits for it.
//
// It returns an error if it cannot begin: the tables do not exist or are not what
// this program needs, see [Box.CheckTable]. A database or a queue that is away
// later, or that is away at the beginning, is logged once and tried again. A second
// Run at the same time is [core.ErrInvalid].
func (r *Relay) Run(ctx context.Context) error {
	if r == nil || r.run == nil {
		return fmt.Errorf("airlock: outbox: nil or zero Relay, use NewRelay: %w", core.ErrInvalid)
	}
	if ctx == nil {
		return errNilContext
	}
	select {
	case <-r.run:
		defer func() { r.run <- struct{}{} }()
	default:
		return fmt.Errorf("airlock: outbox: the relay runs already: %w", core.ErrInvalid)
	}
	l := &loop{Relay: r, limit: r.set.Batch}
	if err := l.begin(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		l.turn(ctx)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(r.set.DrainTimeout, 0))
	defer cancel()
	_ = r.box.settler.wait(drain) // what is left comes again
	return nil
}

// loop is one Run.
type loop struct {
	*Relay
	limit    int           // rows of the next claim
	pause    time.Duration // after a claim of which nothing was sent
	dbPause  time.Duration // after an error of the database
	idle     bool          // the last claim was empty
	looked   time.Time     // for a stalled outbox
	adopted  time.Time     // when it looked for all rows without a partition
	queueOff bool          // logged
}

// begin checks the table. While the database is away it waits.
func (l *loop) begin(ctx context.Context) error {
	for {
		err := l.box.CheckTable(ctx, l.db)
		if err == nil && l.box.ordered {
			err = l.adopt(ctx, true)
			l.adopted = time.Now()
		}
		if err == nil || isTableError(err) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		l.databaseFailed(ctx, err)
	}
}

// claimPatience is how long a claim may go on when the relay stops.
const claimPatience = 5 * time.Second

// turn claims and sends once, or waits.
func (l *loop) turn(ctx context.Context) {
	wake := l.box.bell.wait() // before the look, so that no COMMIT is missed
	l.lookForStalled(ctx)
	if everything := time.Since(l.adopted) >= adoptEvery; l.box.ordered && (l.idle || everything) {
		if err := l.adopt(ctx, everything); err != nil {
			l.databaseFailed(ctx, err)
			return
		}
		if everything {
			l.adopted = time.Now()
		}
	}
	if l.idle {
		wait, err := l.nextDue(ctx)
		if err != nil {
			l.databaseFailed(ctx, err)
			return
		}
		if wait > 0 {
			l.sleep(ctx, wake, wait)
			return
		}
	}
	// A claim that is cut off would leave rows leased that nobody has.
	whole, end := outlast(ctx, claimPatience)
	c, err := l.claim(whole, l.limit)
	if len(c.rows) == 0 && len(c.parts) > 0 {
		err = errors.Join(err, l.release(whole, c, nil))
	}
	end()
	if err != nil {
		l.databaseFailed(ctx, err)
		return
	}
	l.databaseBack(ctx)
	l.idle = len(c.rows) == 0
	if l.idle {
		l.sleep(ctx, wake, 20*time.Millisecond) // other relays may have what is due
		return
	}
	l.handle(ctx, c)
	if l.pause > 0 {
		l.sleep(ctx, nil, l.jitter(l.pause))
	}
}

// nextDue returns how long there is nothing to do: until the first row is due, at
// most for Poll. The query reads one entry of an index, or one for each partition.
func (l *loop) nextDue(ctx context.Context) (time.Duration, error) {
	b := l.box
	s := newStatement(b.dialect)
	if b.ordered {
		l.partitionsDue(s)
	} else {
		s.add("SELECT due - ", b.now(), " FROM ", b.quoted(b.table), " WHERE dest = ").arg(b.dest).add(" AND due IS NOT NULL ORDER BY due LIMIT 1")
	}
	micros, found, err := number(ctx, l.db, s.text.String(), s.args...)
	if err != nil {
		return 0, fmt.Errorf("airlock: outbox: look at table %s: %w", b.table, adapter.Masked(err))
	}
	poll := l.jitter(l.set.Poll)
	if !found {
		return poll, nil
	}
	return min(time.Duration(micros)*time.Microsecond, poll), nil
}

// jitter varies a duration by a quarter, so that relays do not act in step.
func (l *loop) jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

func (l *loop) sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// databaseFailed logs the first of several errors, and waits.
func (l *loop) databaseFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if l.dbPause == 0 {
		l.set.Logger.WarnContext(ctx, "outbox: the relay's database fails, trying again", "table", l.box.table, "error", err.Error())
	}
	l.observe(Report{Err: err})
	l.dbPause = min(max(2*l.dbPause, 50*time.Millisecond), 5*time.Second)
	l.sleep(ctx, nil, l.jitter(l.dbPause))
}

func (l *loop) databaseBack(ctx context.Context) {
	if l.dbPause > 0 {
		l.dbPause = 0
		l.set.Logger.InfoContext(ctx, "outbox: the relay's database is back", "table", l.box.table)
	}
}

func (l *loop) observe(r Report) {
	if l.set.Observer == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			err := core.Sound(&core.PanicError{Value: v, Stack: debug.Stack()})
			l.set.Logger.Error("outbox: RelayOptions.Observer", "error", adapter.ErrorText(err, maxReason))
		}
	}()
	l.set.Observer(r)
}
