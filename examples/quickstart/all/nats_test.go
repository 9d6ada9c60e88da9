package main

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestANATSServerOfOnesOwnIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	url, stop, err := embedNATS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	out, err := quickstart(t, "-executor", "nats", "-nats", url)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	requireRows(t, out, "nats"+sums)
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Streams != 0 {
		t.Errorf("%d streams were left behind", info.Streams)
	}
}
