package natsexec

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// health logs once when the worker cannot fetch jobs, of all queues or of one, and once
// when it can again.
type health struct {
	mu  sync.Mutex
	bad map[*source]trouble // guarded by mu; nil as a key is the connection
}

type trouble int

const (
	none    trouble = iota
	passing         // it is tried again
	misfit          // somebody must act
)

// lost is for a source, or nil for the connection. While that is lost, the sources say
// nothing.
func (h *health) lost(logger *slog.Logger, s *source, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kind := passing
	if errors.Is(err, core.ErrInvalid) {
		kind = misfit
	}
	if h.bad[s] >= kind || h.bad[nil] != none {
		return
	}
	if h.bad == nil {
		h.bad = map[*source]trouble{}
	}
	h.bad[s] = kind
	if kind == misfit {
		logger.LogAttrs(context.Background(), slog.LevelError, "airlock: nats: the worker cannot fetch jobs until its consumer is changed or deleted", attrsOf(s, err)...)
		return
	}
	if s == nil {
		adapter.LogLost(logger, name, attrsOf(s, err)...)
		return
	}
	logger.LogAttrs(context.Background(), slog.LevelWarn, "airlock: nats: the worker cannot fetch jobs of a queue, trying again", attrsOf(s, err)...)
}

func attrsOf(s *source, err error) []slog.Attr {
	var attrs []slog.Attr
	if s != nil {
		attrs = append(attrs, slog.String("queue", s.queue))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", adapter.ErrorText(err, longestReason)))
	}
	return attrs
}

// back is for a source that answers, and so for the connection.
func (h *health) back(logger *slog.Logger, s *source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.bad) == 0 || h.bad[s] == none && h.bad[nil] == none {
		return
	}
	if h.bad[s] == none {
		s = nil
	}
	delete(h.bad, s)
	delete(h.bad, nil)
	if s == nil {
		adapter.LogBack(logger, name)
		return
	}
	logger.LogAttrs(context.Background(), slog.LevelInfo, "airlock: nats: the worker fetches jobs of a queue again", attrsOf(s, nil)...)
}
