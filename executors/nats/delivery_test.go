package natsexec

import (
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func testWorker() (*Worker, *source) {
	s := newSource("JOBS", "mail", "Mail", laneNormal, 1)
	s.ackWait.Store(int64(time.Minute))
	return &Worker{stream: "JOBS", opts: WorkerOptions{
		Backoff: core.Exponential(time.Second, time.Minute), ParkFor: time.Minute, Logger: slog.New(slog.DiscardHandler),
	}}, s
}

func read(subject string, header nats.Header, data string, delivered uint64) *job {
	w, s := testWorker()
	meta := &nats.MsgMetadata{NumDelivered: delivered, Timestamp: time.Unix(1, 0)}
	meta.Sequence.Stream = 17
	return w.deliveryOf(s, &nats.Msg{Subject: subject, Header: header, Data: []byte(data)}, meta)
}

func TestWhatADeliveryIsReadAs(t *testing.T) {
	t.Parallel()
	h := func(pairs ...string) nats.Header {
		header := nats.Header{}
		for i := 0; i < len(pairs); i += 2 {
			header[pairs[i]] = []string{pairs[i+1]}
		}
		return header
	}
	const subject = "JOBS.job.Mail.test.work"
	for name, tc := range map[string]struct {
		subject   string
		header    nats.Header
		delivered uint64
		id, task  string
		attempt   int
		most      int
		bad       error
	}{
		"a plain publisher's":        {id: "JOBS:17", attempt: 1, most: 25},
		"with an ID":                 {header: h("Nats-Msg-Id", "mine"), id: "mine", attempt: 1, most: 25},
		"with an ID that has blanks": {header: h("Nats-Msg-Id", "a b"), id: "a b", attempt: 1, most: 25},
		"ours":                       {header: h("Nats-Msg-Id", "i", "Airlock-Envelope", `{"v":1,"id":"i","max_attempts":3}`), id: "i", attempt: 1, most: 3},
		"copied with another ID":     {header: h("Nats-Msg-Id", "x", "Airlock-Envelope", `{"v":1,"id":"i","max_attempts":3}`), id: "i", attempt: 1, most: 3},
		"unique":                     {subject: subject + ".=abc", id: "JOBS:17", attempt: 1, most: 25},
		"delivered again":            {delivered: 4, id: "JOBS:17", attempt: 4, most: 25},
		"put off":                    {header: h("Nats-Msg-Id", "a b 9", "Airlock-Attempts", "2"), delivered: 2, id: "a b", attempt: 4, most: 25},
		"put off, and fired":         {header: h("Airlock-Id", "a b", "Airlock-Attempts", "2"), id: "a b", attempt: 3, most: 25},
		"not before":                 {header: h("Airlock-Attempts", "2", "Airlock-Not-Before", "2100-01-02T03:04:05.000000006Z"), delivered: 2, id: "JOBS:17", attempt: 3, most: 25},
		"not before a riddle":        {header: h("Airlock-Not-Before", "tomorrow"), id: "JOBS:17", attempt: 1, most: 25},
		"put back from the dead":     {header: h("Airlock-Id", "i", "Airlock-Attempts", "25", "Airlock-Reason", "no"), id: "i", attempt: 1, most: 25},
		"attempts that are none":     {header: h("Airlock-Attempts", "-3"), id: "JOBS:17", attempt: 1, most: 25},
		"attempts without end":       {header: h("Airlock-Attempts", "9223372036854775807"), id: "JOBS:17", attempt: 1, most: 25},
		"deliveries without end":     {delivered: math.MaxUint64, id: "JOBS:17", attempt: math.MaxInt32, most: 25},
		"an envelope that is cut":    {header: h("Nats-Msg-Id", "i", "Airlock-Envelope", "{"), id: "i", attempt: 1, most: 25, bad: core.ErrInvalid},
		"a later envelope":           {header: h("Nats-Msg-Id", "i", "Airlock-Envelope", `{"v":2,"id":"i"}`), id: "i", attempt: 1, most: 25, bad: worker.ErrLaterVersion},
	} {
		if tc.subject == "" {
			tc.subject = subject
		}
		j := read(tc.subject, tc.header, "x", max(tc.delivered, 1))
		d := j.delivery
		if d.ID != tc.id || d.Task != "test.work" || d.Queue != "mail" || d.Attempt != tc.attempt || d.MaxAttempts != tc.most || d.Backoff.IsZero() {
			t.Errorf("%s: %+v, attempt %d of %d", name, d, d.Attempt, d.MaxAttempts)
		}
		if (d.EnvelopeErr == nil) != (tc.bad == nil) || tc.bad != nil && !errors.Is(d.EnvelopeErr, tc.bad) {
			t.Errorf("%s: %v", name, d.EnvelopeErr)
		}
		if d.Native.(*nats.Msg).Subject != tc.subject {
			t.Errorf("%s: native value %v", name, d.Native)
		}
	}
}

// Every message is read, and its copies are messages that a server takes: each header is one line, the ID is that of the
// same job, and they are not larger than the headroom allows.
func FuzzAnyMessageIsRead(f *testing.F) {
	for _, s := range [][5]string{
		{"JOBS.job.Mail.test.work", "id-1", `{"v":1,"id":"id-1"}`, "2", "x"},
		{"JOBS.job.Mail.*", "", "{", "-1", ""},
		{"JOBS.job.Mail.=k", "a b 3", `{"v":9}`, "99999999999999999999", "\r\n"},
		{"JOBS", "\xff", "[]", "", strings.Repeat("x", 600)},
		{"JOBS.job.Mail.a.=b.=c", " ", `{"v":1,"headers":{"Nats-Msg-Id":"x"}}`, "3", "2100-01-02T03:04:05Z"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4], uint64(1))
	}
	f.Fuzz(func(t *testing.T, subject, id, envelope, attempts, other string, delivered uint64) {
		w, _ := testWorker()
		header := nats.Header{
			"Nats-Msg-Id": {id}, "Airlock-Envelope": {envelope}, "Airlock-Attempts": {attempts},
			"Airlock-Not-Before": {other}, "Airlock-Id": {id}, "Tenant": {}, "Other": {other, id},
		}
		j := read(subject, header, "payload", delivered)
		d := &j.delivery
		if d.ID == "" || d.MaxAttempts < 1 || d.Attempt < -1 || d.Backoff.IsZero() || string(d.Payload) != "payload" {
			t.Errorf("%+v", d)
		}
		if _, ended := w.endWithoutRun(j); !ended && !isTaskName(d.Task) {
			t.Errorf("task %q would be run or parked", d.Task)
		}
		for _, m := range []*nats.Msg{w.copyOf(j, d.Attempt-1), w.scheduled(j, w.copyOf(j, d.Attempt-1), time.Now())} {
			grown := headerSize(m.Header) - headerSize(header)
			if m.Subject = ""; grown > headroom {
				t.Errorf("%d bytes more", grown)
			}
			for key, values := range m.Header {
				if strings.HasPrefix(key, "Airlock-") && key != envelopeHeader && (len(values) != 1 || strings.ContainsAny(values[0], "\r\n")) {
					t.Errorf("header %s: %q", key, values)
				}
			}
			again := read(subject, m.Header, "payload", 1)
			if again.delivery.EnvelopeErr == nil && d.EnvelopeErr == nil && j.hasID && again.delivery.ID != d.ID {
				t.Errorf("ID %q became %q", d.ID, again.delivery.ID)
			}
			if again.attempt != max(d.Attempt-1, 0)+1 {
				t.Errorf("attempt %d became %d", d.Attempt-1, again.attempt)
			}
		}
	})
}

func TestALeaseThatIsOverStaysOver(t *testing.T) {
	t.Parallel()
	const length = time.Minute
	var l lease
	l.begin("reply 1", 1, time.Now().Add(-length), length)
	if l.held() {
		t.Error("held after its time")
	}
	l.renew(time.Now(), length) // a sign that came too late extends another worker's
	if l.held() {
		t.Error("renewed after its time")
	}
	if _, adopted := l.address(); adopted {
		t.Error("adopted")
	}
	l.begin("reply 2", 2, time.Now(), length) // the server gave the job to us again
	reply, adopted := l.address()
	if !l.held() || reply != "reply 2" || !adopted {
		t.Errorf("held: %v, %s, adopted: %v", l.held(), reply, adopted)
	}
	if left := l.left(); left > length-length/10 {
		t.Errorf("%v left: no tenth is kept", left)
	}
	l.renew(time.Now().Add(length), length)
	if left := l.left(); left < length {
		t.Errorf("%v left", left)
	}
	l.begin("reply 0", 1, time.Now().Add(-length/2), length) // an earlier delivery that comes later
	if reply, _ := l.address(); reply != "reply 2" {
		t.Errorf("answers %s", reply)
	}
}

// A machine that slept: the wall clock went on and the monotonic one did not.
func TestALeaseEndsWhileTheMachineSleeps(t *testing.T) {
	t.Parallel()
	var l lease
	now := time.Now()
	l.begin("reply", 1, now, time.Hour)
	l.until = l.until.Round(0).Add(-2 * time.Hour) // by the wall clock
	if l.held() {
		t.Error("held")
	}
}

func TestJobsOfThisWorker(t *testing.T) {
	t.Parallel()
	var l jobList
	first := read("JOBS.job.Mail.test.work", nil, "", 1)
	again := read("JOBS.job.Mail.test.work", nil, "", 2)
	again.msg.Reply = "again"
	if _, admitted := l.admit(first, time.Now()); !admitted {
		t.Fatal("not admitted")
	}
	if _, admitted := l.admit(again, time.Now()); admitted {
		t.Error("admitted while it runs")
	}
	if reply, _ := first.lease.address(); reply != "again" {
		t.Errorf("answers %q", reply)
	}
	l.settle(first, "+ACK")
	l.leave(first)
	if word, admitted := l.admit(again, time.Now()); !admitted || word != "+ACK" {
		t.Errorf("%q, %v", word, admitted)
	}
	l.confirmed(again)
	l.leave(again)
	if word, _ := l.admit(first, time.Now()); word != "" {
		t.Errorf("%q after it was confirmed", word)
	}
	for i := range mostSettled + 5 {
		j := read("JOBS.job.Mail.test.work", nil, "", 1)
		j.key.seq = uint64(i)
		l.settle(j, "+ACK")
	}
	if len(l.settled) > mostSettled {
		t.Errorf("%d are remembered", len(l.settled))
	}
}
