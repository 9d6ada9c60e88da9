package riverexec

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// envelope is what the metadata say of a job.
type envelope struct {
	adapter.Envelope
	ours    bool // an Executor stored the job
	wrapped bool
	err     error // why the metadata cannot be read
}

// readEnvelope reads our fields of the metadata. A job without them is another
// program's. Fields that are damaged are ours all the same.
func readEnvelope(row *rivertype.JobRow) (e envelope) {
	var meta map[string]json.RawMessage // exact keys, as a struct would not have
	if json.Unmarshal(row.Metadata, &meta) != nil {
		return e
	}
	ours, wrap := meta[metadataKey], meta[wrapKey]
	if ours == nil && wrap == nil {
		return e
	}
	e.ours = true
	if ours == nil {
		e.err = fmt.Errorf("airlock: river: metadata: %s without %s: %w", wrapKey, metadataKey, core.ErrInvalid)
		return e
	}
	if e.Envelope, e.err = adapter.DecodeEnvelope(ours); e.err != nil || wrap == nil {
		return e
	}
	if string(wrap) != `"`+wrapBase64+`"` {
		e.err = fmt.Errorf("airlock: river: metadata: malformed %s: %w", wrapKey, core.ErrInvalid)
		return e
	}
	e.wrapped = true
	return e
}

// deliveryOf returns the run of a job as Perform takes it.
func (w *jobWorker) deliveryOf(ctx context.Context, row *rivertype.JobRow, e envelope) worker.Delivery {
	d := worker.Delivery{
		ID: e.ID, Task: row.Kind, Queue: w.queues.Portable(row.Queue), Payload: row.EncodedArgs, Headers: e.Headers,
		Attempt: row.Attempt, MaxAttempts: row.MaxAttempts, Backoff: e.Backoff, Timeout: e.Timeout, Deadline: e.Deadline,
		EnvelopeErr: e.err, Native: row, OwnGoroutine: true,
	}
	if d.ID == "" {
		d.ID = strconv.FormatInt(row.ID, 10)
	}
	if limit, ok := ctx.Deadline(); ok && !e.ours { // the client's JobTimeout
		d.Timeout = max(time.Until(limit), 1)
	}
	if e.wrapped && e.err == nil {
		d.Payload = nil // encoding/json reads base64 into it
		if json.Unmarshal(row.EncodedArgs, &d.Payload) != nil {
			d.EnvelopeErr = fmt.Errorf("airlock: river: task %s: the wrapped payload is malformed: %w", row.Kind, core.ErrInvalid)
		}
	}
	return d
}
