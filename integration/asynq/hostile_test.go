package asynq_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

// hostile returns tasks that no handler can run, and the state that they end in.
func hostile() map[string]struct {
	task  *asynq.Task
	state string
} {
	envelope := func(v string) map[string]string { return map[string]string{"Airlock-Envelope": v} }
	type message = struct {
		task  *asynq.Task
		state string
	}
	ours := func(payload string, headers map[string]string) *asynq.Task {
		return asynq.NewTaskWithHeaders("test.work", []byte(payload), headers)
	}
	return map[string]message{
		"unknown task":        {asynq.NewTask("test.stranger", []byte(`"a"`)), "retry"},
		"no handler's name":   {asynq.NewTask("\x00 %s", nil), "retry"},
		"a huge name":         {asynq.NewTask(strings.Repeat("n", 1<<20), nil), "retry"},
		"no payload":          {ours("", nil), "archived"},
		"no JSON":             {ours("{", nil), "archived"},
		"not UTF-8":           {ours("\xff\xfe", nil), "archived"},
		"another type":        {ours("[1]", nil), "retry"},
		"huge":                {ours("["+strings.Repeat("1,", 1<<22), nil), "archived"},
		"empty envelope":      {ours(`"a"`, envelope("")), "archived"},
		"malformed envelope":  {ours(`"a"`, envelope("{")), "archived"},
		"null envelope":       {ours(`"a"`, envelope("null")), "archived"},
		"no attempts":         {ours(`"a"`, envelope(`{"v":1,"max_attempts":-1}`)), "archived"},
		"no time":             {ours(`"a"`, envelope(`{"v":1,"deadline":"never"}`)), "archived"},
		"late":                {ours(`"a"`, envelope(`{"v":1,"deadline":"2000-01-01T00:00:00Z"}`)), "archived"},
		"later envelope":      {ours(`"a"`, envelope(`{"v":99}`)), "retry"},
		"later, other fields": {ours(`"a"`, envelope(`{"v":2,"max_attempts":"many","backoff":7}`)), "retry"},
		"huge envelope":       {ours(`"a"`, envelope(`{"v":1,"id":"`+strings.Repeat("i", 1<<20)+`"}`)), "archived"},
	}
}

func hostileMessagesBlockNobody(w *testEnv) {
	native := asynq.NewClientFromRedisClient(w.connect())
	all := hostile()
	for name, m := range all {
		for n := range slots + 1 { // more than there are slots
			_, err := native.EnqueueContext(w.Ctx, m.task, asynq.TaskID(fmt.Sprint(name, " ", n)))
			w.Must(err)
		}
	}
	w.Want("accepted", w.Intent("good", core.ID("good")))
	w.serve(trial.Succeed)
	w.awaitState("default", "good", "completed")
	for name, m := range all {
		for n := range slots + 1 {
			id := fmt.Sprint(name, " ", n)
			w.awaitState("default", id, m.state)
			i := w.info("default", id)
			if attempts := i.Retried; attempts > 0 && name != "another type" {
				w.Errorf("%s: retried %d times", id, attempts)
			}
			if len(i.LastErr) > 20<<10 {
				w.Errorf("%s: an error of %d bytes", id, len(i.LastErr))
			}
		}
	}
	if n := len(w.Await(1)); n != 1 {
		w.Errorf("%d runs", n)
	}
}

// unreadableMessagesAreArchived stores bytes that are no message of asynq's in every place where a worker finds messages. asynq
// alone keeps them active, and then no longer finds the jobs of crashed workers.
func unreadableMessagesAreArchived(w *testEnv) {
	const queue = "default"
	bad := map[string][]byte{"garbage": []byte("no protobuf"), "cut off": {0x0a, 0x20, 't'}, "not UTF-8": {0x0a, 1, 0xff}, "zeros": bytes.Repeat([]byte{0}, 100)}
	put := func(id string, message []byte, state string) {
		w.Must(w.rdb.HSet(w.Ctx, "asynq:{"+queue+"}:t:"+id, "msg", message, "state", state).Err())
	}
	var ids []string
	for name, message := range bad {
		for n := range slots + 1 {
			id := fmt.Sprint(name, " ", n)
			ids = append(ids, id)
			switch n % 3 {
			case 0: // it waits
				put(id, message, "pending")
				w.Must(w.rdb.LPush(w.Ctx, "asynq:{"+queue+"}:pending", id).Err())
			case 1: // it is due
				put(id, message, "retry")
				w.Must(w.rdb.ZAdd(w.Ctx, "asynq:{"+queue+"}:retry", redis.Z{Score: 1, Member: id}).Err())
			default: // its worker has crashed
				put(id, message, "active")
				w.Must(w.rdb.LPush(w.Ctx, "asynq:{"+queue+"}:active", id).Err())
				w.Must(w.rdb.ZAdd(w.Ctx, "asynq:{"+queue+"}:lease", redis.Z{Score: 1, Member: id}).Err())
			}
		}
	}
	// A good job whose worker has crashed, too.
	w.Want("accepted", w.Intent("crashed", core.ID("crashed"), core.Backoff(core.Fixed(time.Millisecond))))
	w.Must(w.rdb.LMove(w.Ctx, "asynq:{"+queue+"}:pending", "asynq:{"+queue+"}:active", "LEFT", "LEFT").Err())
	w.Must(w.rdb.ZAdd(w.Ctx, "asynq:{"+queue+"}:lease", redis.Z{Score: 1, Member: "crashed"}).Err())
	w.Want("accepted", w.Intent("good", core.ID("good")))
	var log logged
	w.run(w.Registry(trial.Succeed), &asynqexec.WorkerOptions{Logger: log.logger()})
	w.awaitState(queue, "good", "completed")
	w.awaitState(queue, "crashed", "completed")
	for _, id := range ids {
		w.Eventually(id+" is archived", func() bool {
			return w.rdb.HGet(w.Ctx, "asynq:{"+queue+"}:t:"+id, "state").Val() == "archived" &&
				w.rdb.ZScore(w.Ctx, "asynq:{"+queue+"}:archived", id).Val() > 0
		})
	}
	if n := w.rdb.LLen(w.Ctx, "asynq:{"+queue+"}:active").Val(); n != 0 {
		w.Errorf("%d are active", n)
	}
	if n := log.lines("ERROR", "airlock: job dead"); n != len(ids) {
		w.Errorf("%d of %d are logged", n, len(ids))
	}
}

// A task of a native producer, or of v0.1, has no retry more than the envelope allows.
func TestWithoutSlackAParkedOrSnoozedTaskSaysWhyItIsArchived(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	w.serve(trial.Succeed)
	native := asynq.NewClientFromRedisClient(w.connect())
	_, err := native.EnqueueContext(w.Ctx, asynq.NewTask("test.stranger", nil), asynq.TaskID("x"), asynq.MaxRetry(0))
	w.Must(err)
	w.awaitState("default", "x", "archived")
	if text := w.info("default", "x").LastErr; !strings.Contains(text, "MaxRetry") || !strings.Contains(text, "no handler") {
		t.Errorf("the archive says %q", text)
	}
}
