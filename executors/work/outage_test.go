package workexec

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"
)

func TestALostRedisIsLoggedOnceAndItsReturnOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		l := newOutageLog(slog.New(slog.NewTextHandler(&log, nil)))
		lines := func() int { return strings.Count(log.String(), "\n") }
		broken, demoted := errors.New("connection refused"), redis.Error("READONLY You can't write against a read only replica.")
		for range 100 { // each connection in the pool may be broken once
			l.note("fetch", broken)
			l.note("fetch", nil)
			l.note("once", broken)
		}
		if lines() != 0 {
			t.Errorf("single failures are logged:\n%s", log.String())
		}
		for range 100 { // a demoted Redis answers what only reads
			l.note("fetch", demoted)
			l.note("look", nil)
			time.Sleep(300 * time.Millisecond)
		}
		if lines() != 1 {
			t.Errorf("%d lines:\n%s", lines(), log.String())
		}
		time.Sleep(forgottenAfter)
		l.note("fetch", nil)
		l.note("look", nil)
		if lines() != 2 || !strings.Contains(log.String(), "backend is back") {
			t.Errorf("%d lines:\n%s", lines(), log.String())
		}
		for range 10 {
			l.note("move", redis.Error("WRONGTYPE Operation against a key holding the wrong kind of value"))
			l.note("look", nil)
			time.Sleep(time.Second)
		}
		if lines() != 3 {
			t.Errorf("%d lines:\n%s", lines(), log.String())
		}
	})
}
