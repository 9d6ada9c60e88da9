package workexec

import (
	"encoding/json"
	"reflect"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

// What the library v0.5.1 keeps to itself and [Register] must know. It is read, never
// written. A test looks whether it is there, and Register reports where it is not:
// there will be no newer version, but there are forks.

// poolInternals are those of a work.WorkerPool.
type poolInternals struct {
	namespace string // as the pool was given it
	id        string // under which its running jobs are kept
	redis     *redis.Pool
	started   bool
	names     map[string]bool // that have a handler
}

func internalsOf(pool *work.WorkerPool) (in poolInternals, ok bool) {
	v := reflect.ValueOf(pool).Elem()
	namespace, id, rdb := v.FieldByName("namespace"), v.FieldByName("workerPoolID"), v.FieldByName("pool")
	started, types := v.FieldByName("started"), v.FieldByName("jobTypes")
	if !is(namespace, reflect.String) || !is(id, reflect.String) || !is(started, reflect.Bool) || !is(types, reflect.Map) ||
		!rdb.IsValid() || rdb.Type() != reflect.TypeFor[*redis.Pool]() {
		return poolInternals{}, false
	}
	in = poolInternals{
		namespace: namespace.String(), id: id.String(), started: started.Bool(),
		redis: (*redis.Pool)(rdb.UnsafePointer()), names: map[string]bool{},
	}
	for _, name := range types.MapKeys() {
		in.names[name.String()] = true
	}
	return in, in.id != "" && in.redis != nil
}

func is(v reflect.Value, kind reflect.Kind) bool { return v.IsValid() && v.Kind() == kind }

// textOf returns the message that a job was read from, "" if it did not come out of
// Redis.
func textOf(job *work.Job) string {
	text := reflect.ValueOf(job).Elem().FieldByName("rawJSON")
	if text.IsValid() && text.Type() == reflect.TypeFor[[]byte]() {
		return string(text.Bytes())
	}
	return ""
}

// rawArgs returns a job's arguments as they are in Redis: the library itself decodes
// every number into a float64. For a job that did not come out of Redis they are what
// it has.
func rawArgs(job *work.Job) json.RawMessage {
	var m message
	if text := textOf(job); text != "" && json.Unmarshal([]byte(text), &m) == nil && m.Args != nil {
		return m.Args
	}
	args, err := json.Marshal(job.Args)
	if err != nil {
		return nil // what the library has decoded can be encoded
	}
	return args
}
