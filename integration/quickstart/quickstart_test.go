//go:build realservers

package quickstart_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/examples/quickstart/demo"
	"github.com/goairlock/airlock/integration/servers"
)

func TestTheQuickstart(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "quickstart")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/goairlock/airlock/examples/quickstart/all").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, test := range map[string]func(t *testing.T, program string){
		"every executor on real servers": testRealServers,
		"a server that is not there":     testNoServer,
		"an interrupt":                   testInterrupt,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, program)
		})
	}
}

// rows returns the table that the program prints, without the time.
func rows(t *testing.T, out string) []string {
	t.Helper()
	_, table, ok := strings.Cut(out, "  executor  orders  ")
	if !ok {
		t.Fatalf("no table in:\n%s", out)
	}
	var rows []string
	for row := range strings.Lines(table) {
		if fields := strings.Fields(row); len(fields) == 10 {
			rows = append(rows, strings.Join(fields[:9], " "))
		}
	}
	return rows
}

func testRealServers(t *testing.T, program string) {
	t.Helper()
	redisURL := "redis://" + servers.Redis(t, servers.RedisOptions{Private: true}).Addr() + "/0"
	rabbit := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	testNoWorkers(t, program, rabbit)
	celeryIsReady, celeryOnRabbitMQIsReady := startCelery(t, redisURL), startCelery(t, rabbit.URL()+"/")
	args := []string{
		"-wait", "3m", "-late", "1m", // the machine may be busy
		"-redis", redisURL, "-celery", redisURL,
		"-postgres", servers.Postgres(t, servers.PostgresOptions{}).Database(t),
		"-nats", servers.NATS(t, servers.NATSOptions{Private: true}).URL(),
		"-rabbitmq", rabbit.URL(),
	}
	celeryIsReady()
	celeryOnRabbitMQIsReady()
	var want []string
	for _, name := range []string{"sync", "pool", "asynq", "river", "nats", "work", "rabbitmq", "celery"} {
		want = append(want, name+" 6 4 16 16 6 0 0 0")
	}
	celeryAlone := []string{"-wait", "3m", "-late", "1m", "-executor", "sync,pool,celery", "-celery", rabbit.URL() + "/"}
	for _, run := range []struct {
		args, want []string
	}{
		{args, want},
		{append(slices.Clone(args), "-outbox"), want}, // the same orders may come again
		{celeryAlone, []string{want[0], want[1], want[7]}},
		{append(slices.Clone(celeryAlone), "-outbox"), []string{want[0], want[1], want[7]}},
	} {
		out, err := exec.Command(program, run.args...).CombinedOutput()
		if err != nil {
			t.Errorf("%v", err)
		}
		if got := rows(t, string(out)); !slices.Equal(got, run.want) {
			t.Errorf("rows %q, want %q\n%s", got, run.want, out)
		}
		if !regexp.MustCompile(`\n +\d+s  sync \d+/\d+ .*celery \d+/\d+\n`).Match(out) {
			t.Errorf("no progress of celery in\n%s", out)
		}
	}
	requireEmpty(t, redisURL)
	for _, name := range append(rabbit.Names(t, "queues"), rabbit.Names(t, "exchanges")...) {
		if strings.HasPrefix(name, "quickstart-") {
			t.Errorf("left in RabbitMQ: %s", name)
		}
	}
}

// testNoWorkers tests a RabbitMQ that no Celery worker uses, and a wrong password.
func testNoWorkers(t *testing.T, program string, rabbit *servers.RabbitMQServer) {
	t.Helper()
	for url, want := range map[string]string{
		rabbit.URL(): `no queue "quickstart.mail" in this virtual host: no Celery worker has consumed it: invalid
airlock: celery: no queue "quickstart.warehouse" in this virtual host: no Celery worker has consumed it: invalid (-show prints the file of the workers)` + "\n",
		"amqp://guest:s3cr3t@" + rabbit.Addr():               "username or password not allowed",
		"amqp://guest:guest@" + rabbit.Addr() + "/elsewhere": "vhost elsewhere not found",
	} {
		out, err := exec.Command(program, "-executor", "celery", "-celery", url).CombinedOutput()
		if exitCode(err) != 1 || !strings.Contains(string(out), "quickstart: celery: -celery: ") || !strings.Contains(string(out), want) || strings.Contains(string(out), "s3cr3t") {
			t.Errorf("%v, want %q\n%s", err, want, out)
		}
		if got := rows(t, string(out)); !slices.Equal(got, []string{"celery 6 0 0 0 0 0 0 0"}) {
			t.Errorf("rows %q", got)
		}
	}
}

// requireEmpty fails the test if the program has left keys of its own in Redis.
func requireEmpty(t *testing.T, url string) {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if left, err := rdb.Keys(t.Context(), "*quickstart-*").Result(); err != nil || len(left) > 0 {
		t.Errorf("left in Redis: %q, %v", left, err)
	}
}

// startCelery starts the workers that the program shows, until the test ends. The
// returned function waits until they are ready.
func startCelery(t *testing.T, broker string) (ready func()) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "staff.py"), []byte(demo.PythonWorker), 0o600); err != nil {
		t.Fatal(err)
	}
	// It ends with this process, and the interpreter is the one that sees Debian's Celery.
	const main = "import ctypes; ctypes.CDLL(None).prctl(1, 9); from celery.__main__ import main; main()"
	cmd := exec.Command("/usr/bin/python3", "-c", main, "-A", "staff", "worker", "-Q", "quickstart.mail,quickstart.warehouse", "--concurrency", "2", "--loglevel", "INFO")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "BROKER="+broker)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	isReady, ended := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(log); scanner.Scan(); {
			lines.WriteString(scanner.Text() + "\n")
			if strings.HasSuffix(scanner.Text(), " ready.") {
				isReady <- true
			}
		}
		close(isReady)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("Celery ended with %v:\n%s", err, &lines)
		}
	})
	return func() {
		if !<-isReady {
			t.Fatal("Celery has ended early")
		}
	}
}

func testNoServer(t *testing.T, program string) {
	t.Helper()
	out, err := exec.Command(program, "-executor", "sync,asynq", "-redis", "redis://127.0.0.1:1").CombinedOutput()
	if exitCode(err) != 1 || !strings.Contains(string(out), "quickstart: asynq: ") || len(rows(t, string(out))) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, url := range []string{"redis://shop:s3cr3t@127.0.0.1:1", "amqp://shop:s3cr3t@127.0.0.1:1"} {
		out, err := exec.Command(program, "-executor", "sync,celery", "-celery", url).CombinedOutput()
		want := []string{"sync 6 4 16 16 6 0 0 0", "celery 6 0 0 0 0 0 0 0"}
		if got := rows(t, string(out)); exitCode(err) != 1 || !slices.Equal(got, want) {
			t.Errorf("%v, rows %q, want %q\n%s", err, got, want, out)
		}
		if !strings.Contains(string(out), "quickstart: celery: -celery: ") || strings.Contains(string(out), "s3cr3t") {
			t.Errorf("%s", out)
		}
	}
}

func testInterrupt(t *testing.T, program string) {
	t.Helper()
	interrupted := exec.Command(program, "-executor", "pool")
	stdout, err := interrupted.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(time.Minute, func() { _ = interrupted.Process.Kill() }).Stop()
	var all bytes.Buffer
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		all.WriteString(scanner.Text() + "\n")
		if strings.HasPrefix(scanner.Text(), "order A-1006") { // the reviews are due in two seconds
			if err := interrupted.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := interrupted.Wait(); exitCode(err) != 130 {
		t.Errorf("%v\n%s", err, &all)
	}
	if got, want := rows(t, all.String()), []string{"pool 6 4 16 16 6 0 0 0"}; !slices.Equal(got, want) || !strings.Contains(all.String(), "Interrupted: ") {
		t.Errorf("rows %q, want %q\n%s", got, want, &all)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
