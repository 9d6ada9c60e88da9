package workexec_test

import (
	"context"
	"testing"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
)

// fakeConn answers as Redis does when all is stored.
type fakeConn struct{}

func (fakeConn) Close() error                             { return nil }
func (fakeConn) Err() error                               { return nil }
func (fakeConn) Do(command string, _ ...any) (any, error) { return int64(1), nil }
func (fakeConn) Send(string, ...any) error                { return nil }
func (fakeConn) Flush() error                             { return nil }
func (fakeConn) Receive() (any, error)                    { return nil, nil }

func TestOneIntentAllocatesLittleMoreThanTheLibrary(t *testing.T) {
	rdb := &redis.Pool{MaxIdle: 1, Dial: func() (redis.Conn, error) { return fakeConn{}, nil }}
	exec, err := workexec.New(rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, err := core.DeclareTask[int]("test.work", core.Header("Trace", "t1"), core.Timeout(time.Minute)).Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	native, ctx := work.NewEnqueuer("work", rdb), context.Background()
	library := testing.AllocsPerRun(200, func() {
		if _, err := native.Enqueue("test.work", work.Q{"id": in.ID, "timeout": "1m0s", "trace": "t1", "payload": "1"}); err != nil {
			t.Fatal(err)
		}
	})
	own := testing.AllocsPerRun(200, func() {
		if err := exec.Execute(ctx, in); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%v allocations, the library %v", own, library)
	if own > library+5 {
		t.Errorf("%v allocations, want at most 5 more than the library's %v", own, library)
	}
}
