package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// watch logs how each queue is doing. Call it once a minute.
func watch(ctx context.Context, view inspect.Viewer, logger *slog.Logger) error {
	queues, err := view.Queues(ctx)
	if err != nil {
		return err
	}
	for _, queue := range queues {
		depth, err := view.Depth(ctx, queue)
		if errors.Is(err, inspect.ErrNotFound) { // its last job has gone meanwhile
			continue
		}
		if err != nil {
			return err
		}
		level := slog.LevelInfo
		if age, known := depth.Oldest.Known(); known && age > 10*time.Minute {
			level = slog.LevelWarn // too few workers, none at all, or a pause
		}
		if dead, known := depth.Dead.Known(); known && dead > 0 {
			level = slog.LevelWarn
		}
		logger.Log(ctx, level, "queue", "name", queue, "waiting", depth.Waiting.String(), "delayed", depth.Delayed.String(),
			"running", depth.Running.String(), "dead", depth.Dead.String(), "oldest", depth.Oldest.String(), "paused", depth.Paused)
	}
	return nil
}

// causes counts the dead jobs of a queue by task and error.
func causes(ctx context.Context, view inspect.Viewer, queue string) (map[string]int, error) {
	count := map[string]int{}
	for job, err := range inspect.All(ctx, view, inspect.Query{Queue: queue, State: inspect.Dead}) {
		if err != nil {
			return nil, err
		}
		count[job.Task+": "+job.Error]++
	}
	return count, nil
}

// retryInSteps retries the dead jobs of a task, 100 a minute, until there are no more.
func retryInSteps(ctx context.Context, control inspect.Controller, queue, task string) error {
	for {
		done, err := control.RetryAll(ctx, inspect.Selection{Queue: queue, Task: task, Limit: 100})
		if err != nil || done.Retried == 0 {
			return err // done.Skipped jobs are left: see ErrUnreadable and core.ErrDuplicate
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
		}
	}
}

func TestTheOperatorsCode(t *testing.T) {
	t.Parallel()
	e := newEnv(t, onAsynq(t, miniRedis(t), false))
	e.dead(func() string { return e.send(0, "a") }, func() string { return e.send(0, "b") }, func() string { return e.send(1, "c") })
	e.send(0, "x", core.Delay(time.Hour))
	var log strings.Builder
	must(t, watch(e.ctx, e.inspect, slog.New(slog.NewTextHandler(&log, nil))))
	want := fmt.Sprintf("level=WARN msg=queue name=%s waiting=0 delayed=1 running=0 dead=3 oldest=0s paused=false", e.queue)
	if !strings.Contains(log.String(), want) {
		t.Errorf("the log is %s, want %s", log.String(), want)
	}
	count, err := causes(e.ctx, e.inspect, e.queue)
	must(t, err)
	if len(count) != 2 || count["test.a: "+errBroken.Error()] != 2 {
		t.Errorf("causes %v", count)
	}
	ctx, cancel := context.WithTimeout(e.ctx, time.Second)
	defer cancel()
	if err := retryInSteps(ctx, e.inspect, e.queue, "test.a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the next step in a minute", err)
	}
	e.wantCounts(2, 1, 0, 1)
}

// TestTheGuideIsBacked compares docs/operating.md with the code here, and looks for the tests and checks that the guides name.
func TestTheGuideIsBacked(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/operating.md")
	must(t, err)
	source, err := os.ReadFile("example_operating_test.go")
	must(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	if len(blocks) < 3 {
		t.Errorf("%d blocks of code in the guide", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(string(source), block[1]) {
			t.Errorf("the guide shows what is not compiled here:\n%s", block[1])
		}
	}
	named, checks := map[string]bool{}, string(read(t, "../../docs/checks.md"))
	for _, page := range []string{"operating", "workers", "testing", "errors", "adopting", "evolving-payloads", "choosing", "retries", "identity", "scopes", "composing", "compatibility", "move-between-queues",
		"start/asynq", "start/river", "start/nats", "start/work", "start/rabbitmq", "start/celery"} {
		text := string(read(t, "../../docs/"+page+".md"))
		for _, name := range regexp.MustCompile(`\b(Test|Example)[A-Z]\w+`).FindAllString(text, -1) {
			named[name] = false
		}
		for _, id := range regexp.MustCompile(`\b[KABPIXLFQNTV]\d\d\b`).FindAllString(text, -1) {
			if !strings.Contains(checks, "| "+id+" |") {
				t.Errorf("%s.md names the check %s, which does not exist", page, id)
			}
		}
	}
	for _, link := range []string{"examples/service/README.md"} {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(read(t, "../../"+link)), -1) {
			named[name] = false
		}
	}
	must(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for name := range named {
			if strings.Contains(string(text), "func "+name+"(") {
				named[name] = true
			}
		}
		return err
	}))
	for name, found := range named {
		if !found {
			t.Errorf("the guide names %s, which does not exist", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}
