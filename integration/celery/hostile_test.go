//go:build realservers

package celery_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// Messages of anybody stop nothing, and none of them is lost: each is with the dead
// jobs.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	rdb := client(t, server.Addr(), nil)
	with := func(headers map[string]any) string { return string(message("test.task", []byte("1"), headers)) }
	deep := strings.Repeat("[", 3000) + strings.Repeat("]", 3000)
	hostile := []string{
		"", "{", "null", "17", `"x"`, "[]", "{}", "\xff\x00", deep,
		`{"headers":{},"properties":{}}`,
		`{"headers":{"task":"test.task"},"properties":{"delivery_tag":""}}`,
		`{"headers":{"task":"test.task"},"properties":{"delivery_tag":17}}`,
		`{"headers":null,"properties":{"delivery_tag":"no headers"}}`,
		`{"headers":[],"properties":{"delivery_tag":"headers are a list"}}`,
		`{"headers":{"task":"test.task","id":"deep","x":` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + `},"properties":{"delivery_tag":"deep"}}`,
		`{"headers":{"task":"test.task","id":5,"retries":0},"properties":{"delivery_tag":"no body"},"content-type":"application/json"}`,
		`{"body":"!","headers":{"task":"test.task"},"properties":{"delivery_tag":"no base64","body_encoding":"base64"},"content-type":"application/json"}`,
		`{"body":"[1,{},{}]","headers":{"task":"test.task"},"properties":{"delivery_tag":"args are no list"},"content-type":"application/json"}`,
		`{"body":"[[1],{},{},{}]","headers":{"task":"test.task"},"properties":{"delivery_tag":"four parts"},"content-type":"application/json"}`,
		`{"body":"[[1],{},{\"chord\":{}}]","headers":{"task":"test.task"},"properties":{"delivery_tag":"chord"},"content-type":"application/json"}`,
		`{"body":"[[1],{},{}]","headers":{"task":"test.task"},"properties":{"delivery_tag":"pickle"},"content-type":"application/x-python-serialize"}`,
		with(map[string]any{"task": 5}), with(map[string]any{"task": ""}),
		with(map[string]any{"retries": -1}), with(map[string]any{"retries": 1e300}), with(map[string]any{"retries": "x"}), with(map[string]any{"retries": 99}),
		with(map[string]any{"eta": "tomorrow"}), with(map[string]any{"eta": 17}), with(map[string]any{"eta": "2026-13-45T00:00:00"}),
		with(map[string]any{"expires": []int{1}}), with(map[string]any{"timelimit": "x"}), with(map[string]any{"timelimit": []any{"x"}}),
		with(map[string]any{"compression": "application/x-bz2"}),
	}
	for i, raw := range hostile {
		queue := prefix + "celery"
		if i%2 == 1 {
			queue += "\x06\x163"
		}
		if err := rdb.LPush(t.Context(), queue, raw).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// Two messages with one delivery tag are two jobs.
	twin := with(map[string]any{"id": "twin"})
	if err := rdb.LPush(t.Context(), prefix+"celery", twin, twin, with(map[string]any{"id": "good", "timelimit": []any{1e300, nil}})).Err(); err != nil {
		t.Fatal(err)
	}
	ran := make(chan string, 100)
	work(t, rdb, celeryexec.WorkerOptions{}, func(_ context.Context, job worker.Job, _ json.RawMessage) error { ran <- job.ID; return nil })
	runs := map[string]int{}
	for range 3 {
		runs[receive(t, ran)]++
	}
	if runs["good"] != 1 || runs["twin"] != 2 {
		t.Errorf("runs: %v", runs)
	}
	dead := prefix + celeryexec.DeadQueue("celery")
	await(t, "all hostile messages are dead", func() bool { return int(rdb.LLen(t.Context(), dead).Val()) == len(hostile) })
	await(t, "nothing is in hand", func() bool { return rdb.HLen(t.Context(), prefix+"unacked").Val() == 0 })
	kept := map[string]bool{}
	for _, record := range rdb.LRange(t.Context(), dead, 0, -1).Val() {
		var d struct {
			Reason  string
			Message string
		}
		if err := json.Unmarshal([]byte(record), &d); err != nil || d.Reason == "" {
			t.Errorf("dead job %.200q: %v", record, err)
		}
		kept[d.Message] = true
	}
	for _, raw := range hostile {
		if raw != "\xff\x00" && !kept[raw] {
			t.Errorf("not kept: %.200q", raw)
		}
	}
	if len(ran) > 0 {
		t.Errorf("%d further runs", len(ran))
	}
	if n := rdb.ZCard(t.Context(), prefix+"unacked_index").Val(); n != 0 {
		t.Errorf("%d delivery tags are left", n)
	}
}
