package work_test

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// stored is a job where it lies in Redis.
type stored struct {
	work.Job
	place string // waiting, running, scheduled, retry or dead
	score int64
}

// jobs are all jobs of a namespace, in each place the next one first.
func (w *testEnv) jobs(namespace string) []stored {
	w.Helper()
	all, err := jobsIn(w.rdb, namespace)
	w.Must(err)
	return all
}

func jobsIn(rdb *redis.Pool, namespace string) (all []stored, err error) {
	conn := rdb.Get()
	defer conn.Close()
	add := func(place string, message []byte, score int64) {
		s := stored{place: place, score: score}
		if json.Unmarshal(message, &s.Job) == nil {
			all = append(all, s)
		}
	}
	names, err := redis.Strings(conn.Do("SMEMBERS", namespace+":known_jobs"))
	if err != nil {
		return nil, err
	}
	pools, err := redis.Strings(conn.Do("SMEMBERS", namespace+":worker_pools"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		list := namespace + ":jobs:" + name
		lists := map[string]string{list: "waiting"}
		counted, err := redis.Strings(conn.Do("HKEYS", list+":lock_info")) // also of a pool that has sent no heartbeat yet
		if err != nil {
			return nil, err
		}
		for _, pool := range append(counted, pools...) {
			lists[list+":"+pool+":inprogress"] = "running"
		}
		for key, place := range lists {
			messages, err := redis.ByteSlices(conn.Do("LRANGE", key, 0, -1))
			if err != nil {
				return nil, err
			}
			for _, message := range slices.Backward(messages) {
				add(place, message, 0)
			}
		}
	}
	for _, place := range []string{"scheduled", "retry", "dead"} {
		members, err := redis.ByteSlices(conn.Do("ZRANGE", namespace+":"+place, 0, -1, "WITHSCORES"))
		if err != nil {
			return nil, err
		}
		for i := 0; i < len(members); i += 2 {
			score, err := redis.Int64(members[i+1], nil)
			if err != nil {
				return nil, err
			}
			add(place, members[i], score)
		}
	}
	return all, nil
}

// find returns the job of an ID in the default queue; its place is gone if there is none.
func (w *testEnv) find(id string) stored {
	w.Helper()
	for _, s := range w.jobs(w.ns) {
		if s.ID == id {
			return s
		}
	}
	return stored{place: "gone"}
}

func (w *testEnv) awaitPlace(id, place string) {
	w.Helper()
	w.Eventually(id+" is "+place, func() bool { return w.find(id).place == place })
}

// waiting are the arguments of the jobs of test.work that wait in a queue, the next one first.
func (w *testEnv) waiting(queue string) []string {
	w.Helper()
	var args []string
	for _, s := range w.jobs(workexec.Namespace(w.ns, queue)) {
		if s.place == "waiting" && s.Name == trial.Task.Name() {
			payload, err := workexec.Payload(&s.Job)
			w.Must(err)
			args = append(args, strings.Trim(string(payload), `"`))
		}
	}
	return args
}
