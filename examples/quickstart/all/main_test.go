package main

import (
	"bytes"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/goairlock/airlock/examples/quickstart/demo"
)

// patient are flags for a busy machine.
var patient = []string{"-wait", "3m", "-late", "1m"}

// quickstart runs the program and returns what it prints and returns.
func quickstart(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	err = run(t.Context(), append(patient, args...), &o, &e)
	return o.String() + e.String(), err
}

// TestMain is also the process that is killed in the middle.
func TestMain(m *testing.M) {
	if os.Getenv(killedEnv) != "" {
		demo.Main(beKilled)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// requireRows compares the rows that the program prints, without the time. Each has an
// executor and: orders, checked out, dispatched, run, discarded, lost, doubled, mistimed.
func requireRows(t *testing.T, out string, want ...string) {
	t.Helper()
	_, table, ok := strings.Cut(out, "  executor  orders  ")
	if !ok {
		t.Fatalf("no table in:\n%s", out)
	}
	var rows []string
	for row := range strings.Lines(table) {
		fields := strings.Fields(row)
		rows = append(rows, strings.Join(fields[:len(fields)-1], " "))
	}
	if !slices.Equal(rows[1:], want) {
		t.Errorf("rows %q, want %q\n%s", rows[1:], want, out)
	}
}

// The sample has 6 orders of which 2 are declined: 4 × (pick, receipt, review, label);
// discarded are the 2 × 3 that the declined ones asked for.
const sums = " 6 4 16 16 6 0 0 0"

var embedded = []string{"sync" + sums, "pool" + sums, "asynq" + sums, "river" + sums, "nats" + sums, "work" + sums}

func TestEveryExecutorSideBySide(t *testing.T) {
	t.Parallel()
	out, err := quickstart(t)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	requireRows(t, out, embedded...)
	for _, want := range []string{`\nrabbitmq  joins with -rabbitmq URL\n`, `\n +\d+s  sync \d+/\d+ pool \d+/\d+ asynq \d+/\d+ river `} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestAnOutboxLosesNothingWhenAProcessIsKilled(t *testing.T) {
	t.Parallel()
	out, err := quickstart(t, "-outbox", "-v")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	requireRows(t, out, embedded...)
	for name := range executors {
		if name == "rabbitmq" || name == "celery" {
			continue
		}
		for _, want := range []string{"order A-1004: checked out by a process that was killed after its COMMIT", "orders in the database: 4; none of a failed checkout"} {
			if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
				return strings.HasPrefix(line, name+" ") && strings.Contains(line, want)
			}) {
				t.Errorf("no %q of %s in\n%s", want, name, out)
			}
		}
	}
}

func TestARedisOfOnesOwnIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	for range 2 { // the same orders may come again
		out, err := quickstart(t, "-executor", "asynq,work", "-redis", "redis://"+server.Addr())
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		requireRows(t, out, "asynq"+sums, "work"+sums)
	}
	for _, key := range server.Keys() {
		if strings.Contains(key, "quickstart") {
			t.Errorf("the key %s was left behind", key)
		}
	}
	if queues, err := server.Members("asynq:queues"); len(queues) > 0 {
		t.Errorf("the queues %q were left behind, %v", queues, err)
	}
}

func TestShowPrintsTheWorkersInPython(t *testing.T) {
	t.Parallel()
	if out, err := quickstart(t, "-show"); err != nil || out != demo.PythonWorker {
		t.Errorf("%v: %s", err, out)
	}
}

func TestABrokerOfCeleryThatCannotBeUsedIsAnError(t *testing.T) {
	t.Parallel()
	notRedis, err := net.Listen("tcp", "127.0.0.1:0") // it answers with a line, and ends the connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notRedis.Close() })
	go func() {
		for {
			conn, err := notRedis.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail.example.com\r\n"))
			_ = conn.Close()
		}
	}()
	for _, scheme := range []string{"redis", "amqp"} {
		for name, place := range map[string]string{
			"nobody is there":     "127.0.0.1:1",
			"not a broker":        notRedis.Addr().String(),
			"a malformed URL":     "127.0.0.1:port",
			"a / in the password": "127.0.0.1:1",
		} {
			t.Run(scheme+", "+name, func(t *testing.T) {
				t.Parallel()
				password := "s3cr3t"
				if strings.HasPrefix(name, "a /") {
					password = "1/s3cr3t"
				}
				out, err := quickstart(t, "-executor", "sync,celery", "-celery", scheme+"://127.0.0.1:"+password+"@"+place)
				if err == nil || !strings.HasPrefix(err.Error(), "celery: -celery: ") || strings.Contains(err.Error()+out, "s3cr3t") {
					t.Errorf("error %v", err)
				}
				requireRows(t, out, "sync"+sums, "celery 6 0 0 0 0 0 0 0")
			})
		}
	}
}

func TestAMalformedURLOfRedisIsNotPrinted(t *testing.T) {
	t.Parallel()
	out, err := quickstart(t, "-executor", "asynq,work", "-redis", "redis://shop:1/s3cr3t@h")
	if err == nil || strings.Count(err.Error(), ": -redis: want redis://") != 2 || strings.Contains(err.Error()+out, "s3cr3t") {
		t.Errorf("error %v", err)
	}
}

func TestACeleryWithoutWorkersIsAnError(t *testing.T) {
	t.Parallel()
	out, err := quickstart(t, "-executor", "celery", "-celery", "redis://"+miniredis.RunT(t).Addr())
	if err == nil || !strings.HasPrefix(err.Error(), "celery: -celery: ") || !strings.HasSuffix(err.Error(), "(-show prints the file of the workers)") {
		t.Errorf("error %v", err)
	}
	requireRows(t, out, "celery 6 0 0 0 0 0 0 0")
}
