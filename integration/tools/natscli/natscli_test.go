//go:build realservers

package natscli_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

var receipt = core.DeclareTask[string]("email.receipt")

// testEnv is a server with a stream on it, and the nats command.
type testEnv struct {
	*testing.T
	command, url string
	js           jetstream.JetStream
	exec         *natsexec.Executor
}

func setup(t *testing.T) *testEnv {
	t.Helper()
	w := &testEnv{T: t, command: filepath.Join(t.TempDir(), "nats"), url: servers.NATS(t, servers.NATSOptions{Private: true}).URL()}
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", "..", "..", "tools"), "-o", w.command, "github.com/nats-io/natscli/nats")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the nats command: %v\n%s", err, out)
	}
	conn, err := nats.Connect(w.url)
	must(t, err)
	t.Cleanup(conn.Close)
	w.js, err = jetstream.New(conn)
	must(t, err)
	must(t, natsexec.EnsureStream(t.Context(), w.js, "JOBS", nil))
	w.exec, err = natsexec.New(t.Context(), w.js, "JOBS", nil)
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *testEnv) intent(arg string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := receipt.Intent(arg, opts...)
	must(w.T, err)
	return in
}

// nats runs the command without any settings of the user.
func (w *testEnv) nats(args ...string) []byte {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.command, append([]string{"--server", w.url}, args...)...)
	home := w.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "NATS_CONTEXT=")
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		w.Fatalf("nats %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut.String())
	}
	return out
}

func (w *testEnv) natsJSON(answer any, args ...string) {
	w.Helper()
	out := w.nats(append(args, "--json")...)
	if err := json.Unmarshal(out, answer); err != nil {
		w.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// message returns the last message of a subject, as the command shows it.
func (w *testEnv) message(subject string) jetstream.RawStreamMsg {
	w.Helper()
	var shown struct {
		Sequence uint64 `json:"seq"`
		Subject  string `json:"subject"`
		Data     []byte `json:"data"`
		Header   []byte `json:"hdrs"`
	}
	w.natsJSON(&shown, "stream", "get", "JOBS", "--last-for", subject)
	header, err := nats.DecodeHeadersMsg(shown.Header)
	must(w.T, err)
	return jetstream.RawStreamMsg{Sequence: shown.Sequence, Subject: shown.Subject, Data: shown.Data, Header: header}
}

func TestTheNATSCommandShowsWhatIsDocumented(t *testing.T) {
	t.Parallel()
	w := setup(t)
	now := w.intent("A-1", core.Queue("mail"), core.ID("order-1"), core.Header("Trace", "t-1"), core.Timeout(time.Minute))
	later := w.intent("A-2", core.Queue("mail"), core.ID("order-2"), core.Delay(time.Hour))
	fails := w.intent("A-3", core.ID("order-3"))
	must(t, w.exec.Execute(t.Context(), now, later, fails))
	w.workUntilDead()

	var stream struct {
		Config jetstream.StreamConfig `json:"config"`
		State  jetstream.StreamState  `json:"state"`
	}
	w.natsJSON(&stream, "stream", "info", "JOBS")
	if c := stream.Config; c.Retention != jetstream.WorkQueuePolicy || !c.AllowMsgSchedules || !c.AllowAtomicPublish || c.Duplicates != 5*time.Minute {
		t.Errorf("stream %+v", c)
	}
	if stream.State.Msgs != 3 {
		t.Errorf("%d messages", stream.State.Msgs)
	}

	subjects := map[string]int{}
	w.natsJSON(&subjects, "stream", "subjects", "JOBS")
	const schedule = "JOBS.at.mail.email.receipt.~PV4xBs1yugP-3t9tu5_DNg" // sha256 of "order-2", its first 16 bytes
	for _, want := range []string{"JOBS.job.mail.email.receipt", schedule, "JOBS.dead.default.email.receipt"} {
		if subjects[want] != 1 {
			t.Errorf("%d messages on %s of %v", subjects[want], want, subjects)
		}
	}

	for subject, want := range map[string]struct {
		data   string
		header map[string]string
	}{
		"JOBS.job.mail.email.receipt": {`"A-1"`, map[string]string{
			"Nats-Msg-Id": "order-1", "Trace": "t-1", "Airlock-Envelope": `{"v":1,"id":"order-1","max_attempts":25,"timeout":"1m0s"}`,
		}},
		schedule: {`"A-2"`, map[string]string{"Nats-Schedule-Target": "JOBS.job.mail.email.receipt"}},
		"JOBS.dead.default.email.receipt": {`"A-3"`, map[string]string{
			"Airlock-Reason": "no such customer", "Airlock-Attempts": "1", "Airlock-Subject": "JOBS.job.default.email.receipt", "Airlock-Envelope": `{"v":1,"id":"order-3","max_attempts":25}`,
		}},
	} {
		m := w.message(subject)
		if m.Subject != subject || string(m.Data) != want.data {
			t.Errorf("%s: shown as %s with %s", subject, m.Subject, m.Data)
		}
		for key, value := range want.header {
			if got := m.Header.Get(key); got != value {
				t.Errorf("%s: %s is %q, want %q", subject, key, got, value)
			}
		}
	}

	var consumers []string
	w.natsJSON(&consumers, "consumer", "ls", "JOBS", "--names")
	if strings.Join(consumers, " ") != "default" {
		t.Errorf("consumers %v", consumers)
	}
	var consumer struct {
		Config jetstream.ConsumerConfig `json:"config"`
	}
	w.natsJSON(&consumer, "consumer", "info", "JOBS", "default")
	if c := consumer.Config; c.Durable != "default" || c.FilterSubject != "JOBS.job.default.>" || c.AckPolicy != jetstream.AckExplicitPolicy ||
		c.MaxDeliver != -1 || c.AckWait != 30*time.Second {
		t.Errorf("consumer %+v", c)
	}
}

// The way of the package comment: the payload and every header but Nats-Msg-Id, to the subject in Airlock-Subject.
func TestTheNATSCommandPutsADeadJobBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	in := w.intent("A {{ID}} 3", core.ID("order-3"), core.MaxAttempts(2), core.Header("Trace", "t-1"), core.Timeout(time.Minute))
	must(t, w.exec.Execute(t.Context(), in))
	w.workUntilDead()
	dead := w.message("JOBS.dead.default.email.receipt")
	args := []string{"pub", "--jetstream", "--no-templates", dead.Header.Get("Airlock-Subject"), string(dead.Data)}
	for key := range dead.Header {
		if key != "Nats-Msg-Id" {
			args = append(args, "-H", key+":"+dead.Header.Get(key))
		}
	}
	w.nats(args...)
	w.nats("stream", "rmm", "JOBS", strconv.FormatUint(dead.Sequence, 10), "--force")

	jobs := make(chan worker.Job, 10)
	w.run(func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		if arg != "A {{ID}} 3" {
			t.Errorf("argument %q", arg)
		}
		return nil
	}, func(ctx context.Context, stream jetstream.Stream) bool {
		info, err := stream.Info(ctx)
		must(t, err)
		return info.State.Msgs == 0
	})
	if job := <-jobs; job.ID != "order-3" || job.Attempt != 1 || job.MaxAttempts != 2 || job.Headers.Get("Trace") != "t-1" || job.Headers.Len() != 1 {
		t.Errorf("job %+v", job)
	}
	if len(jobs) > 0 {
		t.Errorf("it ran again: %+v", <-jobs)
	}
}

// workUntilDead runs a worker of the default queue until its job is dead.
func (w *testEnv) workUntilDead() {
	w.Helper()
	w.run(func(context.Context, string) error { return worker.Permanent(errors.New("no such customer")) },
		func(ctx context.Context, stream jetstream.Stream) bool {
			_, err := stream.GetLastMsgForSubject(ctx, "JOBS.dead.>")
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				w.Fatal(err)
			}
			return err == nil
		})
}

// run runs a worker of the default queue until the stream is as wanted.
func (w *testEnv) run(handler func(context.Context, string) error, until func(context.Context, jetstream.Stream) bool) {
	w.Helper()
	reg, err := worker.NewRegistry(worker.Handle(receipt, handler))
	must(w.T, err)
	worker, err := natsexec.NewWorker(w.js, "JOBS", reg, nil)
	must(w.T, err)
	ctx, stop := context.WithTimeout(w.Context(), 3*time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	stream, err := w.js.Stream(ctx, "JOBS")
	must(w.T, err)
	for !until(ctx, stream) {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	must(w.T, <-done)
}
