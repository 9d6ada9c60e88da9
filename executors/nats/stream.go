package natsexec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
)

// StreamOptions say what [EnsureStream] is to make or to find. The zero value
// works.
type StreamOptions struct {
	// Replicas is on how many servers the stream is kept. 0 means 1 for a new
	// stream, and any number for one that exists.
	Replicas int

	// Window is for how long the ID of a job is remembered. The server keeps
	// every ID of that time in memory. 0 means 5 minutes for a new stream, and
	// any window for one that exists.
	Window time.Duration

	// Storage is where the stream is kept. The zero value means files.
	Storage jetstream.StorageType
}

const defaultWindow = 5 * time.Minute

// EnsureStream creates a stream as this package wants it: a work queue with the
// subjects of the package comment, schedules, atomic batches and a duplicate
// window, and without any limit that could drop a job. Nil opts are the zero
// [StreamOptions]. It needs a server of version 2.12 or later.
//
// It never changes a stream that exists. If that does not fit, the error is
// [core.ErrInvalid] and names everything that does not: another retention, limits
// of age, number or size, missing subjects, no schedules, fewer replicas or a
// shorter window than asked for. The subject for claims may be missing. A server that is too old is [core.ErrInvalid] as
// well, and nothing is created. Other errors are those of JetStream.
func EnsureStream(ctx context.Context, js jetstream.JetStream, stream string, opts *StreamOptions) error {
	var o StreamOptions
	if opts != nil {
		o = *opts
	}
	if o.Replicas < 0 || o.Window < 0 {
		return invalidf("StreamOptions of %d replicas and a window of %v", o.Replicas, o.Window)
	}
	s, err := readStream(ctx, js, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = createStream(ctx, js, stream, o)
	}
	if err != nil {
		return err
	}
	cfg := s.Config
	wrong := misfits(cfg, true)
	if !cfg.AllowMsgSchedules {
		wrong = append(wrong, errors.New("no schedules (allow_msg_schedules): delays are refused, and retries wait in their consumer"))
	}
	if !cfg.AllowAtomicPublish {
		wrong = append(wrong, errors.New("no atomic batches (allow_atomic): Options.Atomic is refused"))
	}
	if o.Replicas > 0 && cfg.Replicas != o.Replicas {
		wrong = append(wrong, fmt.Errorf("%d replicas, want %d", cfg.Replicas, o.Replicas))
	}
	if cfg.Duplicates < o.Window {
		wrong = append(wrong, fmt.Errorf("duplicate window of %v, want %v", cfg.Duplicates, o.Window))
	}
	if cfg.Storage != o.Storage {
		wrong = append(wrong, fmt.Errorf("%v storage, want %v", cfg.Storage, o.Storage))
	}
	if len(wrong) > 0 {
		return misfitError(stream, wrong)
	}
	return nil
}

func createStream(ctx context.Context, js jetstream.JetStream, stream string, o StreamOptions) (streamInfo, error) {
	// An older server ignores the settings that it does not know and creates the rest.
	if err := checkLevel(ctx, js); err != nil {
		return streamInfo{}, err
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: append(subjects(stream, true), stream+"."+kindClaim+".>"), Retention: jetstream.WorkQueuePolicy, Storage: o.Storage,
		Replicas: o.Replicas, Duplicates: o.Window, AllowMsgSchedules: true, AllowAtomicPublish: true,
		AllowRollup: true, AllowDirect: true,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster, perhaps with another configuration
		return streamInfo{}, fmt.Errorf("airlock: nats: create stream %s: %w", stream, adapter.Masked(err))
	}
	return readStream(ctx, js, stream)
}

// subjects are those that a stream must have.
func subjects(stream string, withLanes bool) []string {
	kinds := []string{laneNormal, kindAt, kindDead}
	if withLanes {
		kinds = []string{laneNormal, laneHigh, laneLow, kindAt, kindDead}
	}
	list := make([]string, len(kinds))
	for i, kind := range kinds {
		list[i] = stream + "." + kind + ".>"
	}
	return list
}

// A streamInfo is what JetStream says of a stream. The client's own type has no
// domain.
type streamInfo struct {
	Config  jetstream.StreamConfig `json:"config"`
	Created time.Time              `json:"created"`
	Domain  string                 `json:"domain"`
}

func readStream(ctx context.Context, js jetstream.JetStream, stream string) (streamInfo, error) {
	var s streamInfo
	switch {
	case ctx == nil:
		return s, invalidf("nil context")
	case js == nil:
		return s, invalidf("nil JetStream")
	}
	if err := checkStreamName(stream); err != nil {
		return s, err
	}
	if err := ask(ctx, js.Conn(), apiPrefix(js)+"STREAM.INFO."+stream, nil, &s); err != nil {
		return s, fmt.Errorf("airlock: nats: read stream %s: %w", stream, err)
	}
	return s, nil
}

func checkStreamName(stream string) error {
	if stream == "" || strings.ContainsAny(stream, "*>./\\ \t\r\n") {
		return invalidf("stream name %q, want one without blanks and . * > / \\", stream)
	}
	return nil
}

// apiPrefix is what the subjects of JetStream's own interface begin with.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

func misfitError(stream string, wrong []error) error {
	texts := make([]string, len(wrong))
	for i, err := range wrong {
		texts[i] = err.Error()
	}
	return invalidf("stream %s does not fit: %s", stream, strings.Join(texts, "; "))
}

// misfits lists why jobs could be lost on a stream, or never be worked.
func misfits(cfg jetstream.StreamConfig, withLanes bool) []error {
	var wrong []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	add(cfg.Retention != jetstream.WorkQueuePolicy, "%v retention, want WorkQueue", cfg.Retention)
	for _, want := range subjects(cfg.Name, withLanes) {
		add(!covered(want, cfg.Subjects), "subject %s is missing", want)
	}
	// Schedules exclude DiscardNew, so a limit would drop the oldest job.
	add(cfg.MaxMsgs > 0, "limit of %d messages (max_msgs) drops accepted jobs", cfg.MaxMsgs)
	add(cfg.MaxBytes > 0, "limit of %d bytes (max_bytes) drops accepted jobs", cfg.MaxBytes)
	add(cfg.MaxAge > 0, "limit of age %v (max_age) drops accepted jobs", cfg.MaxAge)
	add(cfg.MaxMsgsPerSubject > 0, "limit of %d messages per subject (max_msgs_per_subject) drops accepted jobs", cfg.MaxMsgsPerSubject)
	add(cfg.PersistMode == jetstream.AsyncPersistMode, "asynchronous persistence (persist_mode) acknowledges what is not written")
	add(cfg.NoAck, "no acknowledgements (no_ack)")
	add(cfg.Sealed, "it is sealed")
	add(cfg.Mirror != nil, "it is a mirror")
	// nats-server issue 8423: scheduled messages lost on a work queue with sources and replicas.
	add(len(cfg.Sources) > 0, "it has sources, together with which schedules have been lost")
	add(cfg.SubjectTransform != nil, "a subject transform moves jobs away from their workers")
	add(cfg.AllowMsgCounter, "it is a counter (allow_msg_counter)")
	add(cfg.AllowMsgTTL && cfg.SubjectDeleteMarkerTTL > 0, "markers of deleted subjects (subject_delete_marker_ttl) would arrive as jobs")
	add(cfg.Duplicates <= 0, "no duplicate window: a job sent again would be a second one")
	return wrong
}

// covered reports whether one of the patterns matches everything that want does.
func covered(want string, patterns []string) bool {
	for _, p := range patterns {
		if matches(strings.Split(p, "."), strings.Split(want, ".")) {
			return true
		}
	}
	return false
}

func matches(pattern, want []string) bool {
	for i, token := range pattern {
		switch {
		case token == ">":
			return i < len(want)
		case i >= len(want), want[i] == ">":
			return false
		case token != "*" && token != want[i]:
			return false
		}
	}
	return len(pattern) == len(want)
}
