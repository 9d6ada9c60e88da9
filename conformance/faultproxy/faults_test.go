package faultproxy_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

func TestBytesPassUnchangedAndAreCounted(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "ping")
	echo(t, conn, "pong!")
	want := faultproxy.Stats{Connections: 1, Open: 1, RequestBytes: 9, ReplyBytes: 9}
	if got := proxy.Stats(); got != want {
		t.Errorf("stats:\n got %+v\nwant %+v", got, want)
	}
}

func TestEndOfRequestsReachesTheServerAndRepliesStillCome(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	message := strings.Repeat("0123456789abcdef", 8<<10)
	go func() {
		_, _ = io.WriteString(conn, message)
		_ = conn.CloseWrite()
	}()
	reply, err := io.ReadAll(conn)
	if err != nil || string(reply) != message {
		t.Fatalf("%d of %d bytes came back: %v", len(reply), len(message), err)
	}
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Open == 0 })
	if stats := proxy.Stats(); stats.Cut != 0 {
		t.Errorf("a connection that its client closed counts as cut: %+v", stats)
	}
}

func TestLoseRepliesLetsTheRequestThrough(t *testing.T) {
	t.Parallel()
	server, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "warm")

	proxy.LoseReplies()
	send(t, conn, "ping")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.LostReplyBytes == 4 })
	if got := server.received.Load(); got != 8 {
		t.Errorf("the server received %d bytes, want 8", got)
	}
	if stats := proxy.Stats(); stats.ReplyBytes != 4 {
		t.Errorf("a reply got through: %+v", stats)
	}

	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, conn) // bytes of its stream are lost
	echo(t, dial(t, proxy), "again")
}

func TestLoseRepliesAfterLosesTheLastReplyOfMany(t *testing.T) {
	t.Parallel()
	server, proxy := setup(t)
	conn := dial(t, proxy)
	proxy.LoseRepliesAfter(7)
	echo(t, conn, "one")
	echo(t, conn, "two")
	send(t, conn, "three") // holds the seventh byte
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.LostReplyBytes == 5 })
	if got := server.received.Load(); got != 11 {
		t.Errorf("the server received %d bytes, want 11", got)
	}
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, conn)

	proxy.LoseRepliesAfter(0)
	again := dial(t, proxy)
	send(t, again, "four")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.LostReplyBytes == 9 })
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}

	proxy.LoseRepliesAfter(100)
	if err := proxy.Heal(); err != nil { // ends a fault that has not happened yet
		t.Fatal(err)
	}
	echo(t, dial(t, proxy), "five")
}

func TestLoseRequestsKeepsTheServerFromHearing(t *testing.T) {
	t.Parallel()
	server, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "warm")

	proxy.LoseRequests()
	send(t, conn, "ping")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.LostRequestBytes == 4 })
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, conn)
	if got := server.received.Load(); got != 4 {
		t.Errorf("the server received %d bytes, want 4", got)
	}
	echo(t, dial(t, proxy), "again")
}

func TestHealSparesConnectionsThatLostNothing(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	whole, lossy := dial(t, proxy), dial(t, proxy)
	echo(t, whole, "warm")
	echo(t, lossy, "warm")
	proxy.LoseReplies()
	send(t, lossy, "ping")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.LostReplyBytes == 4 })
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, lossy)
	echo(t, whole, "still here")
	if cut := proxy.Stats().Cut; cut != 1 {
		t.Errorf("%d connections were cut, want 1", cut)
	}
}

func TestCutAfterPassesExactlyThatMany(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		after int64
		want  int64 // bytes that arrive of the ten sent
	}{
		{"in the middle", 3, 3},
		{"at the end", 10, 10},
		{"immediately", 0, 0},
		{"negative", -1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server, proxy := setup(t)
			conn := dial(t, proxy)
			echo(t, conn, "warm")
			proxy.CutAfter(tc.after)
			send(t, conn, "0123456789")
			waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Cut == 1 && s.Open == 0 })
			if got := proxy.Stats().LostRequestBytes; got != 10-tc.want {
				t.Errorf("%d request bytes were lost, want %d", got, 10-tc.want)
			}
			if _, err := io.ReadAll(conn); err == nil {
				t.Error("the client saw a clean end, not a reset")
			}
			server.drain()
			if got := server.received.Load() - 4; got != tc.want {
				t.Errorf("%d bytes arrived, want %d", got, tc.want)
			}
		})
	}
}

func TestCutAfterHappensOnce(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	first := dial(t, proxy)
	echo(t, first, "warm")
	proxy.CutAfter(2)
	send(t, first, "ping")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Cut == 1 })
	second := dial(t, proxy)
	echo(t, second, "a message longer than two bytes")
	echo(t, second, "and another")
}

func TestDelayHoldsBytesBothWays(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "warm")
	const delay = 30 * time.Millisecond
	proxy.Delay(delay)
	start := time.Now()
	echo(t, conn, "ping")
	if took := time.Since(start); took < 2*delay {
		t.Errorf("a round trip took %v, want at least %v", took, 2*delay)
	}
	if got := proxy.Stats().Delayed; got != 8 {
		t.Errorf("%d bytes were delayed, want 8", got)
	}
	proxy.Delay(0)
	echo(t, conn, "plain")
	if got := proxy.Stats().Delayed; got != 8 {
		t.Errorf("%d bytes were delayed after the fault ended, want 8", got)
	}
}

func TestDelayedBytesKeepTheirOrderWhenTheDelayShrinks(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "warm")
	proxy.Delay(50 * time.Millisecond)
	send(t, conn, "one ")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Delayed == 4 })
	proxy.Delay(0)
	send(t, conn, "two")
	reply := make([]byte, 7)
	if _, err := io.ReadFull(conn, reply); err != nil || string(reply) != "one two" {
		t.Fatalf("got %q, %v", reply, err)
	}
}

func TestSliceWritesPieces(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "warm")

	proxy.Slice(1)
	echo(t, conn, strings.Repeat("x", 500))
	if got := proxy.Stats().Pieces; got != 1000 {
		t.Errorf("%d pieces, want 1000: 500 bytes each way", got)
	}

	proxy.Slice(0)
	echo(t, conn, "whole")
	if got := proxy.Stats().Pieces; got != 1000 {
		t.Errorf("%d pieces after the fault ended, want 1000", got)
	}
}

func TestSliceShowsReadersParts(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	proxy.Slice(7)
	message := strings.Repeat("0123456789", 2000)
	go func() { _, _ = io.WriteString(conn, message) }()
	reads, got := 0, make([]byte, 0, len(message))
	buf := make([]byte, len(message))
	for len(got) < len(message) {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
		reads++
	}
	if string(got) != message {
		t.Fatal("the message came back changed")
	}
	if reads < 2 {
		t.Errorf("%d bytes in pieces of 7 arrived in one read", len(message))
	}
}
