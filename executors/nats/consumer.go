package natsexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	leastAckWait = time.Second
	mostWaiting  = 4096 // requests for jobs that a consumer keeps
)

// bind finds the source's consumer, or creates it. One that exists may have been
// tuned. It is left alone, and must fit.
func (w *Worker) bind(ctx context.Context, s *source) error {
	want := w.wanted(s)
	cfg, err := w.consumer(ctx, s)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cfg, err = w.createConsumer(ctx, want)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another worker was faster, with options of its own
			cfg, err = w.consumer(ctx, s)
		}
	}
	if err != nil {
		return fmt.Errorf("airlock: nats: consumer %s of stream %s: %w", s.durable(), w.stream, err)
	}
	if wrong := consumerMisfits(cfg, want, w.opts.Concurrency, w.schedules, w.storage); len(wrong) > 0 {
		return invalidf("consumer %s of stream %s does not fit: %s", s.durable(), w.stream, strings.Join(wrong, "; "))
	}
	s.ackWait.Store(int64(cfg.AckWait))
	s.bounded.Store(cfg.MaxAckPending > 0)
	return nil
}

// served reports whether a worker fetches from a consumer. One that cannot be asked is
// served.
func (w *Worker) served(ctx context.Context, durable string) bool {
	var info struct {
		Waiting int `json:"num_waiting"`     // requests
		Running int `json:"num_ack_pending"` // jobs
	}
	err := ask(ctx, w.conn, w.api+"CONSUMER.INFO."+w.stream+"."+durable, nil, &info)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false
	}
	return err != nil || info.Waiting > 0 || info.Running > 0
}

// The client's own calls do not say that a permission is missing.

type consumerInfo struct {
	Config jetstream.ConsumerConfig `json:"config"`
}

func (w *Worker) consumer(ctx context.Context, s *source) (jetstream.ConsumerConfig, error) {
	var info consumerInfo
	err := ask(ctx, w.conn, w.api+"CONSUMER.INFO."+w.stream+"."+s.durable(), nil, &info)
	return info.Config, err
}

func (w *Worker) createConsumer(ctx context.Context, want jetstream.ConsumerConfig) (jetstream.ConsumerConfig, error) {
	var info consumerInfo
	subject := w.api + "CONSUMER.CREATE." + w.stream + "." + want.Name + "." + want.FilterSubject
	err := ask(ctx, w.conn, subject, map[string]any{"stream_name": w.stream, "config": want, "action": "create"}, &info)
	return info.Config, err
}

// wanted is the consumer that a worker creates.
func (w *Worker) wanted(s *source) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: s.durable(), Name: s.durable(), FilterSubject: w.stream + "." + s.kind + "." + s.native + ".>",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: w.opts.AckWait, MaxDeliver: -1, MaxAckPending: -1,
		MaxWaiting: max(mostWaiting, w.opts.Concurrency),
	}
}

// tunable are the settings of a consumer that may differ from those that a worker
// gives it, within the bounds that consumerMisfits checks.
var tunable = []string{
	"ack_wait", "max_ack_pending", "max_waiting", "max_batch", "max_expires", "max_bytes", "mem_storage",
	"description", "metadata", "sample_freq", "num_replicas", "pause_until",
}

// consumerMisfits lists what keeps a consumer from doing what the worker asks of it.
// It compares everything with the consumer that the worker would create, and so
// finds settings that this package has never heard of.
func consumerMisfits(cfg, want jetstream.ConsumerConfig, concurrency int, schedules bool, storage jetstream.StorageType) []string {
	if len(cfg.FilterSubjects) == 1 && cfg.FilterSubject == "" {
		cfg.FilterSubject, cfg.FilterSubjects = cfg.FilterSubjects[0], nil
	}
	if cfg.MaxDeliver == 0 {
		cfg.MaxDeliver = -1
	}
	var wrong []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	got, wanted := settings(cfg), settings(want)
	for _, key := range slices.Sorted(maps.Keys(union(got, wanted))) {
		if slices.Contains(tunable, key) || got[key] == wanted[key] {
			continue
		}
		switch {
		case wanted[key] == "":
			add(true, "%s is %s, want it unset", key, got[key])
		case got[key] == "":
			add(true, "%s is unset, want %s", key, wanted[key])
		default:
			add(true, "%s is %s, want %s", key, got[key], wanted[key])
		}
	}
	add(cfg.AckWait < leastAckWait, "ack_wait is %v, want at least %v", cfg.AckWait, leastAckWait)
	add(cfg.MaxAckPending > 0 && cfg.MaxAckPending < concurrency, "max_ack_pending is %d, want at least the worker's concurrency of %d", cfg.MaxAckPending, concurrency)
	add(cfg.MaxAckPending > 0 && !schedules, "max_ack_pending is %d, want no limit: on a stream without schedules jobs wait in their consumer", cfg.MaxAckPending)
	add(cfg.MaxWaiting > 0 && cfg.MaxWaiting < concurrency, "max_waiting is %d, want at least the worker's concurrency of %d", cfg.MaxWaiting, concurrency)
	add(cfg.MaxRequestBatch > 0 && cfg.MaxRequestBatch < concurrency, "max_batch is %d, want at least the worker's concurrency of %d", cfg.MaxRequestBatch, concurrency)
	add(cfg.MaxRequestExpires > 0 && cfg.MaxRequestExpires < waitAlone, "max_expires is %v, want at least %v", cfg.MaxRequestExpires, waitAlone)
	add(cfg.MaxRequestMaxBytes > 0, "max_bytes is %d, want it unset", cfg.MaxRequestMaxBytes)
	add(cfg.MemoryStorage && storage == jetstream.FileStorage, "mem_storage: a restart would forget the attempts")
	return wrong
}

// settings returns a consumer's configuration as JSON values by key. Those that mean
// nothing are left out.
func settings(cfg jetstream.ConsumerConfig) map[string]string {
	var raw map[string]json.RawMessage
	text, err := json.Marshal(cfg)
	if err == nil {
		err = json.Unmarshal(text, &raw)
	}
	if err != nil {
		return map[string]string{"config": err.Error()}
	}
	list := map[string]string{}
	for key, value := range raw {
		if s := string(value); s != "null" && s != "false" && s != "0" && s != `""` && s != "[]" && s != "{}" {
			list[key] = s
		}
	}
	return list
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
