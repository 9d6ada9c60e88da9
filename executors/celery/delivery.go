package celeryexec

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// deliveryOf returns a message in the registry's form. queue is the portable name.
// runs is how often its run has begun, this time included.
func (c *crew) deliveryOf(m *message, tag, queue string, runs int) (d worker.Delivery, due time.Time) {
	d = worker.Delivery{
		ID: tag, Queue: queue, Attempt: runs, MaxAttempts: c.opts.MaxAttempts, Backoff: c.opts.Backoff,
		Native: json.RawMessage(m.raw),
	}
	if id, ok := text(m.headers, "id"); ok && id != "" {
		d.ID = id
	}
	due, err := fillDelivery(&d, m)
	if err != nil {
		d.EnvelopeErr = fmt.Errorf("airlock: celery: malformed message: %w: %w", err, core.ErrInvalid)
		due = time.Time{}
	}
	return d, due
}

func fillDelivery(d *worker.Delivery, m *message) (due time.Time, err error) {
	task, ok := text(m.headers, "task")
	if !ok || task == "" {
		return due, errors.New("no task in the headers, as in version 1 of the protocol")
	}
	d.Task = task
	if !isNull(m.headers, "retries") {
		var retries int
		if json.Unmarshal(m.headers["retries"], &retries) != nil || retries < 0 || retries > math.MaxInt32-d.Attempt {
			return due, errors.New("retries is no count")
		}
		d.Attempt += retries
	}
	if d.Timeout, err = timeLimit(m.headers["timelimit"]); err != nil {
		return due, err
	}
	if d.Deadline, err = m.moment("expires"); err != nil {
		return due, err
	}
	if due, err = m.moment("eta"); err != nil {
		return due, err
	}
	body, err := m.body()
	if err != nil {
		return due, err
	}
	form, _ := text(m.headers, formHeader)
	if d.Payload, err = payloadOf(body, form); err != nil {
		return due, err
	}
	d.Headers = headersOf(m)
	return due, nil
}

// timeLimit returns the soft limit of [hard, soft], or else the hard one.
func timeLimit(raw json.RawMessage) (time.Duration, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return 0, nil
	}
	var limits []*float64
	if json.Unmarshal(raw, &limits) != nil {
		return 0, errors.New("timelimit is no pair of numbers")
	}
	for i := len(limits) - 1; i >= 0; i-- {
		if l := limits[i]; l != nil && *l > 0 {
			return time.Duration(min(*l*float64(time.Second), float64(longest))), nil
		}
	}
	return 0, nil
}

// headersOf returns the headers that are not Celery's own.
func headersOf(m *message) core.Headers {
	var given map[string]string
	for k := range m.headers {
		if reservedHeader(k) || strings.HasPrefix(k, ownPrefix) {
			continue
		}
		if s, ok := text(m.headers, k); ok {
			if given == nil {
				given = map[string]string{}
			}
			given[k] = s
		}
	}
	return core.NewHeaders(given)
}
