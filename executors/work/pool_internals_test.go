package workexec

import (
	"reflect"
	"testing"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

func TestTheLibraryHasTheFieldsThatRegisterReads(t *testing.T) {
	t.Parallel()
	rdb := &redis.Pool{}
	pool := work.NewWorkerPool(struct{}{}, 2, "shop:queue:mail", rdb).Job("native", func(*work.Job) error { return nil })
	in, ok := internalsOf(pool)
	if !ok || in.namespace != "shop:queue:mail" || in.redis != rdb || in.started || !in.names["native"] || len(in.names) != 1 ||
		len(in.id) != 24 {
		t.Errorf("%+v, %v", in, ok)
	}
	field, ok := reflect.TypeFor[work.Job]().FieldByName("rawJSON")
	if !ok || field.Type != reflect.TypeFor[[]byte]() {
		t.Error("a job does not know its message")
	}
}
