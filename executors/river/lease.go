package riverexec

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// River leaves a running job to its worker until attempted_at is older than
// RescueStuckJobsAfter. Then its rescuer makes the job available again, whether or
// not the worker still runs it, and River takes the answer of either worker. Our
// worker therefore renews attempted_at while a handler runs, and makes sure that the
// job is still its own before it answers late. The attempt identifies the run: a job
// that was rescued after attempt n is never again in attempt n.

// longRun is how old a run may be for its answer to count without a question. A
// rescuer looks every 30 seconds.
const longRun = time.Second

// queryLimit bounds a question to the database.
const queryLimit = 5 * time.Second

var errLost = errors.New("airlock: river: another worker has this job by now")

// lease is a worker's hold on a job.
type lease struct {
	ctx         context.Context
	row         *rivertype.JobRow
	rescueAfter time.Duration
	confirmed   time.Time // when the job was last known to be ours
	completed   bool      // by CompleteTx, or River's JobCompleteTx
}

// newLease returns the hold on a job that was fetched at row.AttemptedAt. If that
// is long ago, by either clock, the job may be lost already.
func newLease(ctx context.Context, row *rivertype.JobRow, began time.Time, rescueAfter time.Duration) *lease {
	l := &lease{ctx: context.WithoutCancel(ctx), row: row, rescueAfter: rescueAfter, confirmed: began}
	if at := row.AttemptedAt; at != nil && at.Before(began) {
		l.confirmed = *at
	}
	return l
}

// rescueAfter returns the client's RescueStuckJobsAfter as River computes it.
func rescueAfter(config *river.Config) time.Duration {
	after := config.RescueStuckJobsAfter
	if after <= 0 {
		after = time.Hour + max(config.JobTimeout, 0)
	}
	return after
}

// interval is the time between two renewals.
func (l *lease) interval() time.Duration { return max(l.rescueAfter/3, 10*time.Millisecond) }

// age is the time since the job was known to be ours. The wall clock counts too: the
// other one may stand still while a machine sleeps.
func (l *lease) age() time.Duration {
	return max(time.Since(l.confirmed), time.Now().Round(0).Sub(l.confirmed.Round(0)))
}

// overdue reports whether the job may be lost.
func (l *lease) overdue() bool { return l.age() >= min(longRun, l.rescueAfter/3) }

// confirm renews the lease and reports whether the job is still ours. If the
// database does not answer, that is so until RescueStuckJobsAfter has passed.
func (l *lease) confirm() bool {
	db, ok := databaseOf(l.ctx)
	if !ok {
		return true // outside a client, in a test
	}
	ctx, cancel := context.WithTimeout(l.ctx, queryLimit)
	defer cancel()
	at := time.Now()
	err := db.renew(ctx, l.row)
	if err == nil {
		l.confirmed = at
		return true
	}
	if !errors.Is(err, errLost) {
		return l.age() < l.rescueAfter
	}
	now, err := db.exec.JobGetByID(ctx, &riverdriver.JobGetByIDParams{ID: l.row.ID, Schema: db.schema})
	l.completed = err == nil && now.State == rivertype.JobStateCompleted && now.Attempt == l.row.Attempt
	return false
}

// jobTable is River's table of jobs.
type jobTable struct {
	exec     riverdriver.Executor
	database database
	schema   string
	mark     string // before the number of an argument
}

// databaseOf returns the table of the client that works a job.
func databaseOf(ctx context.Context) (jobTable, bool) {
	if client, err := river.ClientFromContextSafely[pgx.Tx](ctx); err == nil {
		return tableOf(client), true
	}
	if client, err := river.ClientFromContextSafely[*sql.Tx](ctx); err == nil {
		return tableOf(client), true
	}
	return jobTable{}, false
}

func tableOf[TTx any](client *river.Client[TTx]) jobTable {
	driver := client.Driver()
	return jobTable{driver.GetExecutor(), database(driver.DatabaseName()), client.Schema(), driver.ArgPlaceholder()}
}

// renew sets attempted_at to now if the row is still in the same run, else it
// returns errLost.
func (t jobTable) renew(ctx context.Context, row *rivertype.JobRow) error {
	now := "now()"
	if t.database == sqlite {
		now = "datetime('now', 'subsec')" // as River writes it
	}
	var id int64
	err := t.exec.QueryRow(ctx, fmt.Sprintf("UPDATE %s SET attempted_at = %s WHERE id = %s1 AND state = 'running' AND attempt = %s2 RETURNING id",
		t.name(), now, t.mark, t.mark), row.ID, row.Attempt).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) || errors.Is(err, sql.ErrNoRows) {
		return errLost
	}
	return err
}

// name returns the table's name. River takes only letters, digits and _ in a schema.
func (t jobTable) name() string { return t.named("river_job") }

// named returns the name of another of River's tables.
func (t jobTable) named(table string) string {
	if t.schema == "" {
		return table
	}
	return `"` + t.schema + `".` + table
}
