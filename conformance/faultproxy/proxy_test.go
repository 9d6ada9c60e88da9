package faultproxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

func TestDownRefusesAndResetsAndUpRecovers(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	addr := proxy.Addr()
	for range 20 {
		conn := dial(t, proxy)
		echo(t, conn, "ping")
		proxy.Down()
		proxy.Down()
		if open := proxy.Stats().Open; open != 0 {
			t.Fatalf("%d connections are open while down", open)
		}
		if late, err := net.Dial("tcp", addr); err == nil {
			_ = late.Close()
			t.Fatal("a dial succeeded while down")
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial while down: %v, want connection refused", err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("read on an open connection: %v, want connection reset", err)
		}
		if err := proxy.Up(); err != nil {
			t.Fatal(err)
		}
		if err := proxy.Up(); err != nil {
			t.Fatal(err)
		}
	}
	if proxy.Addr() != addr {
		t.Errorf("the address changed from %s to %s", addr, proxy.Addr())
	}
	if cut := proxy.Stats().Cut; cut != 20 {
		t.Errorf("%d connections were cut, want 20", cut)
	}
	echo(t, dial(t, proxy), "up again")
}

func TestHealEndsEveryFault(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	proxy.Delay(time.Hour)
	proxy.Slice(1)
	proxy.CutAfter(0)
	proxy.LoseReplies()
	proxy.LoseRequests()
	proxy.Down()
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	echo(t, dial(t, proxy), "plain")
	want := faultproxy.Stats{Connections: 1, Open: 1, RequestBytes: 5, ReplyBytes: 5}
	if got := proxy.Stats(); got != want {
		t.Errorf("stats:\n got %+v\nwant %+v", got, want)
	}
}

func TestResetSparesLaterConnections(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "ping")
	proxy.Reset()
	wantBroken(t, conn)
	echo(t, dial(t, proxy), "pong")
	if stats := proxy.Stats(); stats.Cut != 1 || stats.Open != 1 {
		t.Errorf("want one cut and one open: %+v", stats)
	}
}

func TestResetEndsDelayedBytes(t *testing.T) {
	t.Parallel()
	server, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "warm")
	proxy.Delay(time.Hour)
	send(t, conn, "ping")
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Delayed == 4 })
	proxy.Reset()
	wantBroken(t, conn)
	if got := server.received.Load(); got != 4 {
		t.Errorf("the server received %d bytes, want 4", got)
	}
}

func TestTargetThatIsNotThereIsCountedAsRefused(t *testing.T) {
	t.Parallel()
	server, proxy := setup(t)
	server.stop()
	// The reset may come before the dial has returned, or after.
	if conn, err := net.Dial("tcp", proxy.Addr()); err == nil {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		wantBroken(t, conn)
	}
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Refused == 1 && s.Connections == 0 })
}

func TestServerThatEndsItsConnectionsEndsTheClients(t *testing.T) {
	t.Parallel()
	server, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "ping")
	server.stop()
	wantBroken(t, conn)
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	t.Parallel()
	if _, err := faultproxy.New("localhost"); err == nil {
		t.Error("an address without a port was taken")
	}
}

func TestWaitForReturnsWithTheContextAndWithClose(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	never := func(faultproxy.Stats) bool { return false }

	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := proxy.WaitFor(ctx, never); !errors.Is(err, cause) {
		t.Errorf("context over: %v, want its cause", err)
	}

	waiting := make(chan error, 1)
	go func() { waiting <- proxy.WaitFor(t.Context(), never) }()
	proxy.Close()
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed meanwhile: %v, want net.ErrClosed", err)
	}
	if err := proxy.WaitFor(t.Context(), never); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed before: %v, want net.ErrClosed", err)
	}
}

func TestCloseIsIdempotentAndFinal(t *testing.T) {
	t.Parallel()
	_, proxy := setup(t)
	conn := dial(t, proxy)
	echo(t, conn, "ping")
	var closers sync.WaitGroup
	for range 8 {
		closers.Go(func() {
			proxy.Close()
			if open := proxy.Stats().Open; open != 0 {
				t.Errorf("%d connections are open after Close", open)
			}
		})
	}
	closers.Wait()
	wantBroken(t, conn)
	for name, call := range map[string]func() error{"Up": proxy.Up, "Heal": proxy.Heal} {
		if err := call(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v, want net.ErrClosed", name, err)
		}
	}
	proxy.Down()
	proxy.Reset()
}

// It is not parallel, since it looks at the goroutines of the whole process.
func TestNothingIsLeftAfterCloseUnderFire(t *testing.T) {
	server, proxy := setup(t)
	const clients = 8
	faults := []func(){
		proxy.Down, proxy.Reset, proxy.LoseReplies, proxy.LoseRequests,
		func() { proxy.Delay(time.Millisecond) },
		func() { proxy.Slice(2) },
		func() { proxy.CutAfter(rand.Int64N(64)) },
	}

	done := make(chan struct{})
	var users sync.WaitGroup
	for range clients {
		users.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					roundTrip(proxy.Addr())
				}
			}
		})
	}
	for range 2 {
		users.Go(func() {
			for range 150 {
				faults[rand.IntN(len(faults))]()
				_ = proxy.Stats()
				if err := proxy.Heal(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Some round trips must succeed in between, otherwise the test shows nothing.
	waitFor(t, proxy, func(s faultproxy.Stats) bool { return s.Connections > 20 && s.ReplyBytes > 100 })
	close(done)
	users.Wait()
	proxy.Close()
	server.stop()

	if stats := proxy.Stats(); stats.Open != 0 || stats.RequestBytes < server.received.Load() {
		t.Errorf("counters do not add up, the server received %d bytes: %+v", server.received.Load(), stats)
	}
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"faultproxy.(*link)", "faultproxy.(*Proxy)"} {
		if bytes.Contains(stacks.Bytes(), []byte(mark)) {
			t.Errorf("goroutines of the proxy are left:\n%s", stacks.Bytes())
		}
	}
}

// roundTrip may fail in any way, since the proxy breaks connections.
func roundTrip(addr string) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
	for range 3 {
		if _, err := conn.Write([]byte("0123456789")); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
			return
		}
	}
}
