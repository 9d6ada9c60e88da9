package riverexec

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// InspectorOptions tune an [Inspector]. The zero value works.
type InspectorOptions struct {
	// QueueNames are those of the executor's [Options].
	QueueNames map[string]string

	// Schema is that of River's tables, as in river.Config.
	Schema string
}

// Inspector looks at River's queues and acts on their jobs. It is made by
// [NewInspector] and is an [inspect.Inspector].
//
// The ID of a job that an [Executor] has stored is its intent's, and that of any
// other job is River's number. The states are
//
//	Waiting  available; also parked jobs
//	Delayed  scheduled, retryable and pending, and what is available but not due
//	Running  running
//	Dead     discarded and cancelled; River deletes them after 7 days and 24 hours
//	Done     completed
//	Parked   unknown
//
// River's own JobRetry raises the limit of attempts by one and leaves the others used
// up. Retry does neither. Each call is one statement, and a job is found by its ID
// with a scan of the table.
type Inspector[TTx any] struct {
	client *river.Client[TTx]
	table  jobTable
	queues adapter.QueueNames
}

var (
	_ inspect.Inspector = (*Inspector[pgx.Tx])(nil)
	_ inspect.Inspector = (*Inspector[*sql.Tx])(nil)
)

// NewInspector returns an inspector on the caller's driver. It does no I/O. Nil opts
// are the zero [InspectorOptions]. A nil driver, one without a connection pool, and
// bad options are [core.ErrInvalid].
func NewInspector[TTx any](driver riverdriver.Driver[TTx], opts *InspectorOptions) (*Inspector[TTx], error) {
	switch {
	case isNil(driver):
		return nil, fmt.Errorf("airlock: river: nil driver: %w", core.ErrInvalid)
	case !driver.PoolIsSet():
		return nil, fmt.Errorf("airlock: river: an inspector needs a driver with a connection pool: %w", core.ErrInvalid)
	}
	if opts == nil {
		opts = &InspectorOptions{}
	}
	names, err := newQueueNames(opts.QueueNames)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(driver, &river.Config{Schema: opts.Schema})
	if err != nil {
		return nil, fmt.Errorf("airlock: river: %w: %w", core.ErrInvalid, err)
	}
	return &Inspector[TTx]{client, tableOf(client), names}, nil
}

// Queues returns the queues that have jobs, and those that a worker has announced.
func (i *Inspector[TTx]) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	var text string
	err := i.table.exec.QueryRow(ctx, fmt.Sprintf("SELECT %s FROM (SELECT queue FROM %s UNION SELECT name FROM %s ORDER BY 1) AS all_queues",
		i.dialect("CAST(coalesce(json_agg(queue), '[]') AS text)", "json_group_array(queue)"), i.table.name(), i.table.named("river_queue"))).Scan(&text)
	if err != nil {
		return nil, inspectError(ctx, err)
	}
	var native []string
	if err := json.Unmarshal([]byte(text), &native); err != nil {
		return nil, inspectError(ctx, err)
	}
	return i.portable(native), nil
}

// Depth counts the jobs of a queue.
func (i *Inspector[TTx]) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	native, err := i.native(ctx, queue)
	if err != nil {
		return inspect.Depth{}, err
	}
	count := func(where string) string { return "count(CASE WHEN " + where + " THEN 1 END)" }
	oldest := i.dialect("extract(epoch FROM now() - min(CASE WHEN %s THEN scheduled_at END))",
		"(julianday('now', 'subsec') - julianday(min(CASE WHEN %s THEN scheduled_at END))) * 86400.0")
	var waiting, delayed, running, dead int64
	var age *float64
	err = i.table.exec.QueryRow(ctx, fmt.Sprintf(
		"SELECT %s, %s, %s, %s, CAST("+oldest+" AS double precision) FROM %s WHERE queue = %s1 AND state <> 'completed'",
		count(i.where(inspect.Waiting)), count(i.where(inspect.Delayed)), count(i.where(inspect.Running)), count(i.where(inspect.Dead)),
		i.where(inspect.Waiting), i.table.name(), i.table.mark), native).Scan(&waiting, &delayed, &running, &dead, &age)
	if err != nil {
		return inspect.Depth{}, inspectError(ctx, err)
	}
	d := inspect.Depth{
		Queue: i.queues.Portable(native), Waiting: inspect.CountOf(waiting), Delayed: inspect.CountOf(delayed),
		Running: inspect.CountOf(running), Dead: inspect.CountOf(dead), Oldest: inspect.AgeOf(0),
	}
	if age != nil {
		d.Oldest = inspect.AgeOf(time.Duration(*age * float64(time.Second)))
	}
	row, err := i.table.exec.QueueGet(ctx, &riverdriver.QueueGetParams{Name: native, Schema: i.table.schema})
	switch {
	case err == nil:
		d.Paused = row.PausedAt != nil
	case !errors.Is(err, rivertype.ErrNotFound): // no worker has announced it
		return inspect.Depth{}, inspectError(ctx, err)
	}
	return d, nil
}

// where is the condition for a state.
func (i *Inspector[TTx]) where(state inspect.State) string {
	due := "scheduled_at <= " + i.now()
	switch state {
	case inspect.Waiting:
		return "state = 'available' AND " + due
	case inspect.Running:
		return "state = 'running'"
	case inspect.Dead:
		return "state IN ('discarded', 'cancelled')"
	case inspect.Done:
		return "state = 'completed'"
	}
	return "(state IN ('scheduled', 'retryable', 'pending') OR state = 'available' AND NOT " + due + ")"
}

func (i *Inspector[TTx]) now() string { return i.dialect("now()", "datetime('now', 'subsec')") }

func (i *Inspector[TTx]) dialect(postgres, lite string) string {
	if i.table.database == sqlite {
		return lite
	}
	return postgres
}

// native returns River's name of a queue that there is.
func (i *Inspector[TTx]) native(ctx context.Context, queue string) (string, error) {
	if err := i.check(ctx); err != nil {
		return "", err
	}
	if err := i.queues.Check(queue); err != nil {
		return "", err
	}
	native := i.queues.Native(queue)
	var known bool
	err := i.table.exec.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT 1 FROM %s WHERE queue = %s1) OR EXISTS (SELECT 1 FROM %s WHERE name = %s1)",
		i.table.name(), i.table.mark, i.table.named("river_queue"), i.table.mark), native).Scan(&known)
	switch {
	case err != nil:
		return "", inspectError(ctx, err)
	case !known:
		return "", fmt.Errorf("airlock: river: queue %q: %w", native, inspect.ErrNotFound)
	}
	return native, nil
}

func (i *Inspector[TTx]) check(ctx context.Context) error {
	switch {
	case i == nil || i.client == nil:
		return fmt.Errorf("airlock: river: an inspector that NewInspector did not make: %w", core.ErrInvalid)
	case ctx == nil:
		return fmt.Errorf("airlock: river: nil context: %w", core.ErrInvalid)
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

// inspectError returns an error of the database with what the caller can act on.
func inspectError(ctx context.Context, err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || sqliteCode(err) == sqliteCantOpen || unavailable(err) {
		err = fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	}
	return withContext(ctx, err)
}
