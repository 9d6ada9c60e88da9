package asynq_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

var update = flag.Bool("update", false, "write the golden messages of the next release")

// wire lists the messages that releases store: asynq's own message, which is a field of the task's key. A message of the current
// release is compared byte by byte, so it has at most one header: protobuf does not order them.
var wire = []struct {
	release, name string
	current       bool
	opts          []core.Option
	headers       map[string]string
}{
	{release: "v0.1", name: "plain"},
	{release: "v0.1", name: "header", headers: map[string]string{"Color": "red"}},
	{release: "v0.1", name: "envelope"},
	{release: "v0.2", name: "plain", current: true},
	{release: "v0.2", name: "envelope", current: true, opts: []core.Option{
		core.MaxAttempts(3), core.Backoff(core.Exponential(time.Second, time.Minute)), core.Timeout(1500 * time.Millisecond),
		core.Deadline(time.Date(2100, 1, 2, 15, 4, 5, 6, time.UTC)), asynqexec.Native(asynq.Retention(time.Hour)),
	}},
}

func goldenFile(release, name string) string {
	return filepath.Join("testdata", release, name+".msg")
}

const goldenPayload = `{"order":"A-1"}`

func TestMessagesAreStoredAsEveryReleaseStoredThem(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	for _, g := range wire {
		if !g.current {
			continue
		}
		in, err := core.DeclareTask[[]byte]("conformance.golden").Codec(core.Raw).
			Intent([]byte(goldenPayload), append(slices.Clone(g.opts), core.ID("golden-"+g.name))...)
		w.Must(err)
		w.Want("accepted", in)
		got, err := w.rdb.HGet(w.Ctx, "asynq:{default}:t:"+in.ID, "msg").Bytes()
		w.Must(err)
		file := goldenFile(g.release, g.name)
		if *update {
			w.Must(os.MkdirAll(filepath.Dir(file), 0o755))
			w.Must(os.WriteFile(file, got, 0o644))
		}
		want, err := os.ReadFile(file)
		w.Must(err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s of %s is now stored as %q, was %q", g.name, g.release, got, want)
		}
	}
}

func TestLocksAreStoredAsEveryReleaseStoredThem(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	w.Want("accepted", w.Intent("a", core.Unique("a key"), core.ID("x"), core.Queue("mail")))
	const locks, field, holder = "asynq:{mail}:airlock:unique", "test.work a key", "asynq:{mail}:t:x"
	got, err := w.rdb.HGetAll(w.Ctx, locks).Result()
	w.Must(err)
	if len(got) != 1 || got[field] != holder {
		t.Errorf("%v", got)
	}
	// A lock that an earlier release has stored counts.
	w.Must(w.rdb.HSet(w.Ctx, locks, "test.work other", holder).Err())
	w.Want("duplicate", w.Intent("b", core.Unique("other"), core.Queue("mail")))
}

// goldenMessages stores the message of each release without a client of asynq's or ours.
func goldenMessages(space func(t trial.Cleaner, namespace string) connect) []conformance.Golden {
	var all []conformance.Golden
	for _, g := range wire {
		id := "golden-" + g.name
		all = append(all, conformance.Golden{
			Name: g.release + " " + g.name, ID: id, Payload: []byte(goldenPayload), Headers: g.headers,
			Put: func(ctx context.Context, namespace string) error {
				message, err := os.ReadFile(goldenFile(g.release, g.name))
				if err != nil {
					return err
				}
				var clients cleanups
				defer clients.run()
				rdb := space(&clients, namespace)()
				if err := rdb.HSet(ctx, "asynq:{default}:t:"+id, "msg", message, "state", "pending", "pending_since", 1).Err(); err != nil {
					return err
				}
				if err := rdb.SAdd(ctx, "asynq:queues", "default").Err(); err != nil {
					return err
				}
				return rdb.LPush(ctx, "asynq:{default}:pending", id).Err()
			},
		})
	}
	return all
}
