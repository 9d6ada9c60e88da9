package natsexec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

func TestWhatAnAnswerMeans(t *testing.T) {
	t.Parallel()
	generated, err := work.Intent("a")
	if err != nil {
		t.Fatal(err)
	}
	refusedWith := func(code, number int) string {
		return fmt.Sprintf(`{"stream":"JOBS","seq":0,"error":{"code":%d,"err_code":%d,"description":"no"}}`, code, number)
	}
	wrongSequence := func(seq int) string {
		return fmt.Sprintf(`{"stream":"JOBS","seq":0,"error":{"code":400,"err_code":10071,"description":"wrong last sequence: %d"}}`, seq)
	}
	is := func(sentinels ...error) []error { return sentinels }
	for name, tc := range map[string]struct {
		in      core.Intent // generated, if it has no ID
		data    string
		status  string
		want    core.State
		is      []error
		inDoubt bool
		foreign bool
		several bool // on replicas
		domain  string
	}{
		"stored":                    {data: `{"stream":"JOBS","seq":17}`, want: core.Accepted},
		"stored, with blanks":       {data: `{"stream":"JOBS", "seq": 17}`, want: core.Accepted},
		"stored in its domain":      {domain: "hub", data: `{"stream":"JOBS","domain":"hub","seq":17}`, want: core.Accepted},
		"another order":             {domain: "hub", data: `{"stream":"JOBS","seq":17,"domain":"hub"}`, want: core.Accepted},
		"stored in another domain":  {domain: "hub", data: `{"stream":"JOBS","domain":"leaf","seq":17}`, want: core.Unknown, foreign: true},
		"stored without a domain":   {domain: "hub", data: `{"stream":"JOBS","seq":17}`, want: core.Unknown, foreign: true},
		"a domain that is too much": {data: `{"stream":"JOBS","domain":"leaf","seq":17}`, want: core.Unknown, foreign: true},
		"known in another domain":   {data: `{"stream":"JOBS","domain":"leaf","seq":17,"duplicate":true}`, want: core.Unknown, foreign: true},
		"refused in a domain":       {domain: "hub", data: refusedWith(400, 10054), want: core.Rejected, is: is(core.ErrTooLarge)},
		"known, a generated ID":     {data: `{"stream":"JOBS","seq":17,"duplicate": true}`, want: core.Accepted},
		"known, a chosen ID":        {in: intent(t), data: `{"stream":"JOBS","seq":17,"duplicate": true}`, want: core.Duplicate},
		"known, with a key":         {in: intent(t, core.Unique("k")), data: `{"stream":"JOBS","seq":17,"duplicate": true}`, want: core.Duplicate},
		"a key that is taken":       {in: intent(t, core.Unique("k")), data: wrongSequence(10), want: core.Duplicate},
		"a schedule that is there":  {data: wrongSequence(10), want: core.Accepted},
		"a store being closed":      {in: intent(t, core.Unique("k")), data: wrongSequence(0), want: core.NotSent, is: is(core.ErrUnavailable)},
		"an ID just being stored":   {data: refusedWith(400, 10158), want: core.Unknown, inDoubt: true},
		"a key just being stored":   {data: refusedWith(400, 10164), want: core.NotSent, is: is(core.ErrUnavailable), inDoubt: true},
		"too large":                 {data: refusedWith(400, 10054), want: core.Rejected, is: is(core.ErrTooLarge)},
		"headers too large":         {data: refusedWith(400, 10097), want: core.Rejected, is: is(core.ErrTooLarge)},
		"schedules switched off":    {data: refusedWith(400, 10188), want: core.Rejected, is: is(core.ErrUnsupported)},
		"out of resources":          {data: refusedWith(503, 10023), want: core.NotSent, is: is(core.ErrUnavailable, core.ErrNotSent)},
		"too many requests":         {data: refusedWith(429, 10167), want: core.NotSent, is: is(core.ErrUnavailable)},
		"a batch that was cut":      {data: refusedWith(400, 10176), want: core.NotSent, is: is(core.ErrUnavailable)},
		"another refusal":           {data: refusedWith(400, 10109), want: core.Rejected},
		"a store that failed":       {data: refusedWith(503, 10077), want: core.NotSent, is: is(core.ErrUnavailable)},
		"one of several":            {several: true, data: refusedWith(503, 10077), want: core.Unknown},
		"the account is full":       {data: refusedWith(400, 10002), want: core.NotSent, is: is(core.ErrUnavailable)},
		"the disk is full":          {data: refusedWith(500, 10047), want: core.NotSent, is: is(core.ErrUnavailable)},
		"a move":                    {data: refusedWith(400, 10124), want: core.NotSent, is: is(core.ErrNotSent)},
		"no tier for the account":   {data: refusedWith(400, 10120), want: core.NotSent, is: is(core.ErrNotSent)},
		"a later server's":          {data: refusedWith(400, 19999), want: core.NotSent, is: is(core.ErrNotSent)},
		"a bad target":              {data: refusedWith(400, 10190), want: core.Rejected},
		"replicas out of step":      {data: refusedWith(503, 10063), want: core.Unknown},
		"nobody there":              {status: "503", want: core.NotSent, is: is(core.ErrUnavailable, jetstream.ErrNoStreamResponse)},
		"another stream":            {data: `{"stream":"JOBS2","seq":17}`, want: core.Unknown, foreign: true},
		"no sequence":               {data: `{"stream":"JOBS"}`, want: core.Unknown, is: is(jetstream.ErrInvalidJSAck)},
		"a sequence of zero":        {data: `{"stream":"JOBS","seq":0}`, want: core.Unknown, is: is(jetstream.ErrInvalidJSAck)},
		"nothing":                   {want: core.Unknown},
		"cut off":                   {data: `{"stream":"JOBS","seq":1`, want: core.Unknown},
		"more than one":             {data: `{"stream":"JOBS","seq":1}}`, want: core.Unknown},
		"no number":                 {data: `{"stream":"JOBS","seq":x}`, want: core.Unknown},
		"a longer name":             {data: `{"stream":"JOB","seq":1}`, want: core.Unknown, foreign: true},
		"not for JetStream clients": {data: "+OK", want: core.Unknown},
	} {
		in := tc.in
		if in.ID == "" {
			in = generated
		}
		m := &nats.Msg{Data: []byte(tc.data), Header: nats.Header{}}
		if tc.status != "" {
			m.Header.Set("Status", tc.status)
		}
		e := &Executor{target: newTarget(streamInfo{Config: jetstream.StreamConfig{Name: "JOBS", Replicas: 1}, Domain: tc.domain})}
		e.target.several = tc.several
		o := e.outcomeOf(m, &in)
		if o.inDoubt != tc.inDoubt || o.state != tc.want {
			t.Errorf("%s: %v (%v), want %v", name, o.state, o.err, tc.want)
		}
		if (o.foreign != "") != tc.foreign {
			t.Errorf("%s: stored by %q", name, o.foreign)
		}
		for _, want := range tc.is {
			if !errors.Is(o.err, want) {
				t.Errorf("%s: %v is not %v", name, o.err, want)
			}
		}
		if o.state != core.Accepted && o.state != core.Duplicate && o.err == nil {
			t.Errorf("%s: %v without a reason", name, o.state)
		}
		if strings.Contains(tc.data, "error") && o.err != nil {
			var api *jetstream.APIError
			if !errors.As(o.err, &api) {
				t.Errorf("%s: JetStream's error cannot be reached in %v", name, o.err)
			}
		}
	}
}

// Every acknowledgement that is recognised without decoding is one that decoding accepts, too.
func FuzzAPlainAcknowledgementIsOneIndeed(f *testing.F) {
	for _, s := range []string{`{"stream":"JOBS","seq":1}`, `{"stream":"JOBS","seq":01}`, `{"stream":"JOBS","seq":}`, `{"stream":"JOBS","seq":184467440737095516150}`} {
		f.Add([]byte(s))
	}
	e := &Executor{target: newTarget(streamInfo{Config: jetstream.StreamConfig{Name: "JOBS", Replicas: 1}})}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := work.Intent("a")
		if err != nil {
			t.Fatal(err)
		}
		if !e.target.plainlyStored(data) {
			return
		}
		// With a blank in front the short way is not taken.
		if o := e.outcomeOf(&nats.Msg{Data: append([]byte(" "), data...)}, &in); o.state != core.Accepted {
			t.Errorf("%q is recognised, and decoded it is %v: %v", data, o.state, o.err)
		}
	})
}

func TestWhatAnErrorOfPublishingMeans(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err   error
		batch core.State // returned before anything of the message was written, or not
		one   core.State
		is    error
	}{
		{err: nats.ErrMaxPayload, batch: core.Rejected, one: core.Rejected, is: core.ErrTooLarge},
		{err: nats.ErrReconnectBufExceeded, batch: core.NotSent, one: core.NotSent, is: core.ErrUnavailable},
		{err: nats.ErrConnectionDraining, batch: core.NotSent, one: core.NotSent, is: core.ErrUnavailable},
		{err: nats.ErrConnectionClosed, batch: core.NotSent, one: core.Unknown}, // a request may have been written by then
		{err: nats.ErrNoResponders, batch: core.Unknown, one: core.NotSent, is: core.ErrUnavailable},
		{err: nats.ErrDisconnected, batch: core.Unknown, one: core.Unknown},
		{err: nats.ErrTimeout, batch: core.Unknown, one: core.Unknown},
		{err: context.DeadlineExceeded, batch: core.Unknown, one: core.Unknown},
		{err: errors.New("write: broken pipe"), batch: core.Unknown, one: core.Unknown},
		{err: errors.New("dial nats://user:secret@host:4222: refused"), batch: core.Unknown, one: core.Unknown},
		{err: &deniedError{nats.ErrPermissionViolation}, batch: core.NotSent, one: core.NotSent, is: core.ErrNotSent},
	} {
		if o := publishError(tc.err); o.state != tc.batch || !errors.Is(o.err, tc.err) {
			t.Errorf("%v in a batch: %v, %v", tc.err, o.state, o.err)
		}
		o := requestError(tc.err)
		if o.state != tc.one || tc.is != nil && !errors.Is(o.err, tc.is) {
			t.Errorf("%v alone: %v, %v", tc.err, o.state, o.err)
		}
		if strings.Contains(o.err.Error(), "secret") {
			t.Errorf("%v alone: %v", tc.err, o.err)
		}
	}
}
