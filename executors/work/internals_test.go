package workexec

import (
	"encoding/json"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

func TestTheLibraryIsInsideAsWeTakeIt(t *testing.T) {
	t.Parallel()
	rdb := &redis.Pool{}
	pool := work.NewWorkerPool(struct{}{}, 2, "shop:queue:mail", rdb).Job("native", func(*work.Job) error { return nil })
	in, ok := lookInto(pool)
	if !ok || in.namespace != "shop:queue:mail:" || in.redis != rdb || in.started || !in.names["native"] || len(in.names) != 1 || len(in.id) != 24 {
		t.Errorf("%+v, %v", in, ok)
	}
	if queueOf(in.namespace) != "mail" || queueOf("shop:") != "default" || queueOf("") != "default" {
		t.Error("the queue of a namespace is another one")
	}
	field, ok := reflect.TypeFor[work.Job]().FieldByName("rawJSON")
	if !ok || field.Type != reflect.TypeFor[[]byte]() {
		t.Error("a job does not know its message")
	}
}

func TestWaitsEndOnFullSecondsAndNeverEarly(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_800_000_000, 0)
	for _, now := range []time.Time{base, base.Add(1), base.Add(300 * time.Millisecond), base.Add(999_999_999)} {
		for _, d := range []time.Duration{0, 1, time.Millisecond, time.Second, 1500 * time.Millisecond, longest} {
			end := time.Unix(now.Unix()+seconds(now, d), 0) // the library adds to its own clock's full second
			if due := now.Add(d); end.Before(due) || end.Sub(due) >= time.Second {
				t.Errorf("%v after %v becomes %v", d, now, end)
			}
		}
	}
}

func TestWaitsAreTakenOnceAndGoWithTheirJob(t *testing.T) {
	t.Parallel()
	var w waits
	job := &work.Job{Name: "n"}
	w.put(job, 7)
	if s, ok := w.take(job); !ok || s != 7 {
		t.Errorf("%d, %v", s, ok)
	}
	if _, ok := w.take(job); ok {
		t.Error("taken twice")
	}
	w.put(&work.Job{Name: "swallowed"}, 1)
	deadline := time.Now().Add(time.Minute)
	for left := 1; left > 0; {
		runtime.GC()
		runtime.Gosched()
		left = 0
		w.byJob.Range(func(any, any) bool { left++; return true })
		if time.Now().After(deadline) {
			t.Fatal("the wait of a job that is gone is kept")
		}
	}
}

func TestAGraveIsAJobThatTheLibraryCanShow(t *testing.T) {
	t.Parallel()
	var job work.Job
	if err := json.Unmarshal(grave("n", "{no job\xff"), &job); err != nil || job.Name != "n" || job.ID == "" || job.LastErr == "" {
		t.Fatalf("%+v, %v", job, err)
	}
	if got, err := Payload(&job); err != nil || string(got) != "{no job\xff" {
		t.Errorf("%q, %v", got, err)
	}
}
