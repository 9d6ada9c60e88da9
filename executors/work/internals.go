package workexec

import (
	"encoding/json"
	"reflect"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

// What the library v0.5.1 keeps to itself and the worker half must know. It is
// read, never written. That it is there is tested, and told by Register where it
// is not: there will be no newer version, but there are forks.

// insides are those of a work.WorkerPool.
type insides struct {
	namespace string // its prefix
	id        string // under which its running jobs are kept
	redis     *redis.Pool
	started   bool
	names     map[string]bool // that have a handler
}

func lookInto(pool *work.WorkerPool) (in insides, ok bool) {
	v := reflect.ValueOf(pool).Elem()
	namespace, id, rdb := v.FieldByName("namespace"), v.FieldByName("workerPoolID"), v.FieldByName("pool")
	started, types := v.FieldByName("started"), v.FieldByName("jobTypes")
	if !is(namespace, reflect.String) || !is(id, reflect.String) || !is(started, reflect.Bool) || !is(types, reflect.Map) ||
		!rdb.IsValid() || rdb.Type() != reflect.TypeFor[*redis.Pool]() {
		return insides{}, false
	}
	in = insides{
		namespace: prefixOf(namespace.String()), id: id.String(), started: started.Bool(),
		redis: (*redis.Pool)(rdb.UnsafePointer()), names: map[string]bool{},
	}
	for _, name := range types.MapKeys() {
		in.names[name.String()] = true
	}
	return in, in.id != "" && in.redis != nil
}

func is(v reflect.Value, kind reflect.Kind) bool { return v.IsValid() && v.Kind() == kind }

// rawArgs are a job's arguments as they are in Redis: the library itself decodes
// every number into a float64. Where a job did not come out of Redis they are what
// it has.
func rawArgs(job *work.Job) json.RawMessage {
	var message struct {
		Args json.RawMessage `json:"args"`
	}
	raw := reflect.ValueOf(job).Elem().FieldByName("rawJSON")
	if raw.IsValid() && raw.Type() == reflect.TypeFor[[]byte]() && raw.Len() > 0 &&
		json.Unmarshal(raw.Bytes(), &message) == nil && message.Args != nil {
		return message.Args
	}
	args, err := json.Marshal(job.Args)
	if err != nil {
		return nil // what the library has decoded can be encoded
	}
	return args
}
