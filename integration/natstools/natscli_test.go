//go:build realservers

package natstools_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
)

var receipt = core.DeclareTask[string]("email.receipt")

// A world is a server with a stream on it, and the nats command.
type world struct {
	*testing.T
	command, url string
	js           jetstream.JetStream
	exec         *natsexec.Executor
}

func setup(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, command: filepath.Join(t.TempDir(), "nats"), url: servers.NATS(t, servers.NATSOptions{Private: true}).URL()}
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", "..", "tools", "natscli"), "-o", w.command, "github.com/nats-io/natscli/nats")
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

func (w *world) intent(arg string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := receipt.Intent(arg, opts...)
	must(w.T, err)
	return in
}

// nats runs the command, with no settings but ours.
func (w *world) nats(args ...string) []byte {
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

func (w *world) natsJSON(answer any, args ...string) {
	w.Helper()
	out := w.nats(append(args, "--json")...)
	if err := json.Unmarshal(out, answer); err != nil {
		w.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// message is one of the stream as the command shows it.
func (w *world) message(subject string) jetstream.RawStreamMsg {
	w.Helper()
	var shown struct {
		Subject string `json:"subject"`
		Data    []byte `json:"data"`
		Header  []byte `json:"hdrs"`
	}
	w.natsJSON(&shown, "stream", "get", "JOBS", "--last-for", subject)
	header, err := nats.DecodeHeadersMsg(shown.Header)
	must(w.T, err)
	return jetstream.RawStreamMsg{Subject: shown.Subject, Data: shown.Data, Header: header}
}

func TestTheNATSCommandShowsWhatIsDocumented(t *testing.T) {
	t.Parallel()
	w := setup(t)
	now := w.intent("A-1", core.Queue("mail"), core.ID("order-1"), core.Header("Trace", "t-1"), core.Timeout(time.Minute))
	later := w.intent("A-2", core.Queue("mail"), core.ID("order-2"), core.Delay(time.Hour))
	fails := w.intent("A-3", core.ID("order-3"))
	must(t, w.exec.Execute(t.Context(), now, later, fails))
	w.bury()

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
			"Nats-Msg-Id": "order-1", "Trace": "t-1", "Airlock-Envelope": `{"v":1,"id":"order-1","timeout":"1m0s"}`,
		}},
		schedule: {`"A-2"`, map[string]string{"Nats-Schedule-Target": "JOBS.job.mail.email.receipt"}},
		"JOBS.dead.default.email.receipt": {`"A-3"`, map[string]string{
			"Airlock-Reason": "no such customer", "Airlock-Attempts": "1", "Airlock-Envelope": `{"v":1,"id":"order-3"}`,
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

// bury runs a worker of the default queue until its job is dead.
func (w *world) bury() {
	w.Helper()
	reg, err := core.NewRegistry(core.Handle(receipt, func(context.Context, string) error {
		return core.Permanent(errors.New("no such customer"))
	}))
	must(w.T, err)
	worker, err := natsexec.NewWorker(w.js, "JOBS", reg, nil)
	must(w.T, err)
	ctx, stop := context.WithTimeout(w.Context(), 3*time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	stream, err := w.js.Stream(ctx, "JOBS")
	must(w.T, err)
	for {
		if _, err := stream.GetLastMsgForSubject(ctx, "JOBS.dead.>"); err == nil {
			break
		} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
			w.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	must(w.T, <-done)
}
