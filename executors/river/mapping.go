package riverexec

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const (
	metadataKey = "airlock"      // the envelope, next to the metadata of others
	wrapKey     = "airlock_wrap" // how a payload that jsonb cannot hold was wrapped
	wrapBase64  = "base64"

	defaultQueue = "default" // River's name for no queue

	// schedulerInterval is how often River moves scheduled jobs to available; it
	// cannot be configured. Retries that are due before are made available at
	// once, with a time at which they may be fetched, and so are our short delays.
	schedulerInterval = 5 * time.Second
)

// The bits of unique_states, as River and its migrations number the states.
const (
	anyState        = 0xff
	unfinishedState = 1<<0 | 1<<4 | 1<<5 | 1<<6 | 1<<7 // available, pending, retryable, running, scheduled
)

// job is an intent on its way into River. River takes it for the job's arguments.
type job struct {
	intent  *core.Intent
	payload []byte // as River is to store it
	key     []byte // our unique_key; nil for none
	states  byte   // in which key is unique
	foreign []byte // the unique_key that River computed, for UniqueOpts of a native option
	ready   bool   // to be stored as available though its time is to come
	batch   *batch // the insert that it is part of

	// row is what River inserts, once our hook has seen it.
	row *rivertype.JobInsertParams
}

// Kind is the task's name: native workers know jobs by it.
func (j *job) Kind() string { return j.intent.Task }

// MarshalJSON returns the payload.
func (j *job) MarshalJSON() ([]byte, error) { return j.payload, nil }

// toNative turns an intent into what River's client takes.
func (e *Executor[TTx]) toNative(in *core.Intent, b *batch, now time.Time) (river.InsertManyParams, error) {
	o := &in.Options
	opts := insertOpts(o, e.queues)
	opts.ScheduledAt = notBefore(o.At, now)
	if err := native(in, opts); err != nil {
		return river.InsertManyParams{}, err
	}
	j := &job{intent: in, batch: b}
	payload, wrapped := in.Payload(), false // fit as it is, or refuse had found it
	if e.options.Wrap {
		var err error
		if payload, wrapped, err = storable(e.options, e.database, in); err != nil {
			return river.InsertManyParams{}, err
		}
	}
	j.payload = e.database.arguments(payload)
	opts.Metadata = metadata(in, opts.Metadata, wrapped)
	j.ready = !opts.Pending && opts.ScheduledAt.After(now) && opts.ScheduledAt.Sub(now) <= schedulerInterval
	switch {
	case hasUniqueOpts(opts):
	case o.Unique != "":
		j.key, j.states = uniqueKey(in.Task, opts.Queue, o.Unique), unfinishedState
	case in.ChosenID() || !e.options.NoIdentity:
		j.key, j.states = idKey(in.ID), anyState
	}
	return river.InsertManyParams{Args: j, InsertOpts: opts}, nil
}

// insertOpts are the options that River has too.
func insertOpts(o *core.Options, queues adapter.QueueNames) *river.InsertOpts {
	opts := &river.InsertOpts{
		Queue:       queues.Native(o.Queue),
		Priority:    level(o.Priority),
		MaxAttempts: o.MaxAttempts,
		ScheduledAt: o.At,
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = core.DefaultMaxAttempts
	}
	return opts
}

// level turns a priority, 10 the highest, into River's, 1 the highest.
func level(priority int) int {
	if priority == 0 {
		priority = adapter.DefaultPriority
	}
	switch {
	case priority >= 8:
		return 1
	case priority >= 5:
		return 2
	case priority >= 3:
		return 3
	}
	return 4
}

// notBefore rounds a time up to what every driver keeps: SQLite's rounds to the
// nearest millisecond. A time that is past is none: it would overtake the jobs
// that wait.
func notBefore(at, now time.Time) time.Time {
	if !at.After(now) {
		return time.Time{}
	}
	return adapter.RoundUpTime(at, time.Millisecond)
}

// metadata adds our envelope to the metadata of a native option.
func metadata(in *core.Intent, others []byte, wrapped bool) []byte {
	env := adapter.EnvelopeOf(in)
	env.MaxAttempts, env.Unique = 0, "" // River has fields for them
	encoded := env.Encode()
	b := make([]byte, 0, len(encoded)+len(others)+len(metadataKey)+len(wrapKey)+len(wrapBase64)+16)
	b = append(b, `{"`+metadataKey+`":`...)
	b = append(b, encoded...)
	if wrapped {
		b = append(b, `,"`+wrapKey+`":"`+wrapBase64+`"`...)
	}
	if rest := bytes.TrimSpace(others); len(rest) > 0 {
		rest = bytes.TrimSpace(rest[1:]) // after the brace
		if rest[0] != '}' {
			b = append(b, ',')
		}
		return append(b, rest...)
	}
	return append(b, '}')
}

// storable returns the payload as the database can hold it, and whether it had
// to be wrapped.
func storable(opts Options, db database, in *core.Intent) (payload []byte, wrapped bool, err error) {
	why := db.unfit(in.Payload())
	if why == "" {
		return in.Payload(), false, nil
	}
	if !opts.Wrap {
		return nil, false, fmt.Errorf("airlock: river: payload: %s (see Options.Wrap): %w", why, core.ErrInvalid)
	}
	raw := in.Payload()
	b := make([]byte, 0, base64.StdEncoding.EncodedLen(len(raw))+2)
	b = append(base64.StdEncoding.AppendEncode(append(b, '"'), raw), '"')
	return b, true, nil
}

// arguments is the payload as the driver is to be given it. SQLite's reads
// arguments with json_extract, which turns a JSON string, number or literal
// into an SQL value (riversqlite v0.49.0, JobInsertFastMany): "x" would be
// malformed, true 1 and null no arguments at all. A string that holds the JSON
// comes out as that JSON.
func (db database) arguments(payload []byte) []byte {
	first := bytes.TrimLeft(payload, " \t\r\n")
	if db != sqlite || first[0] == '{' || first[0] == '[' {
		return payload
	}
	quoted, _ := json.Marshal(string(payload)) // a string of valid UTF-8
	return quoted
}

// idKey is the unique_key of an ID: of a UUID, which a generated ID is, its 16
// bytes, for half the index, in the order of time; of any other text a hash.
// Nothing that River computes can equal either: that is a hash of other text.
func idKey(id string) []byte {
	var u pgtype.UUID
	if u.Scan(id) == nil && u.String() == id { // the text and not another that means the same
		return u.Bytes[:]
	}
	return hash("airlock/id", id)
}

// uniqueKey is the unique_key of a Unique key: one unfinished job per task,
// queue and key.
func uniqueKey(task, queue, key string) []byte {
	if queue == "" { // a native option unset it
		queue = defaultQueue
	}
	return hash("airlock/unique", task, queue, key)
}

// hash keeps the parts apart with a byte that none of them has.
func hash(parts ...string) []byte {
	b := make([]byte, 0, 256)
	for _, p := range parts {
		b = append(append(b, p...), 0)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// refuse judges what the claims of the capabilities cannot say.
func refuse(opts Options, queues adapter.QueueNames, db database, in *core.Intent) error {
	if err := queues.Refuse(in); err != nil {
		return err
	}
	if in.ChosenID() && in.Options.Unique != "" {
		return &core.OptionError{Option: core.OptionUnique, Executor: name,
			Reason: "a job has one unique key, and its ID takes it"}
	}
	if _, _, err := storable(opts, db, in); err != nil {
		return err
	}
	if !in.Has(core.OptionNative) {
		return nil
	}
	return native(in, insertOpts(&in.Options, queues))
}
