package adapter_test

import (
	"errors"
	"testing"

	"github.com/goairlock/airlock/adapter"
)

func TestRedisErrors(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct{ refused, condemns bool }{
		"": {false, false},
		"READONLY You can't write against a read only replica.":             {true, true},
		"LOADING Redis is loading the dataset in memory":                    {true, true},
		"MASTERDOWN Link with MASTER is down":                               {true, true},
		"NOAUTH Authentication required.":                                   {true, true},
		"OOM command not allowed when used memory > 'maxmemory'.":           {true, false},
		"MOVED 3999 127.0.0.1:6381":                                         {true, false},
		"NOSCRIPT No matching script.":                                      {true, false},
		"ERR max number of clients reached":                                 {true, false},
		"ERR syntax error":                                                  {false, false},
		"WRONGTYPE Operation against a key holding the wrong kind of value": {false, false},
		"write tcp: READONLY":                                               {false, false},
	} {
		if got := adapter.RedisRefused(text); got != c.refused {
			t.Errorf("refused %q: got %v", text, got)
		}
		if got := adapter.RedisCondemns(text); got != c.condemns {
			t.Errorf("condemns %q: got %v", text, got)
		}
	}
}

func TestRedisErrorTextShowsNoArguments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ERR unknown command 'FOO', with args beginning with: '" + canary + "'": "ERR unknown command 'FOO'",
		"dial redis://:" + canary + "@host: refused":                            "dial redis://***@host: refused",
		"ERR syntax error":        "ERR syntax error",
		"redis: client is closed": "client is closed",
	} {
		if got := adapter.RedisErrorText(errors.New(text)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := adapter.RedisErrorText(nil); got != "" {
		t.Errorf("got %q", got)
	}
}
