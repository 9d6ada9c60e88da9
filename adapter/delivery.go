package adapter

import (
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// DeliveryOf returns a delivery with what an encoded Envelope holds: ID, headers,
// MaxAttempts, Backoff, Timeout and Deadline. Without MaxAttempts it has
// core.DefaultMaxAttempts. Attempt is 1. EnvelopeErr is the error of DecodeEnvelope,
// and [worker.Registry.Perform] decides about it. Empty data is the job of a producer
// that does not use airlock, and no error.
//
// The adapter sets the other fields, and replaces those that its queue stores
// itself.
func DeliveryOf(envelope []byte) worker.Delivery {
	var e Envelope
	var err error
	if len(envelope) > 0 {
		e, err = DecodeEnvelope(envelope)
	}
	d := worker.Delivery{
		ID: e.ID, Headers: e.Headers, Attempt: 1, MaxAttempts: e.MaxAttempts, Backoff: e.Backoff,
		Timeout: e.Timeout, Deadline: e.Deadline, EnvelopeErr: err,
	}
	if d.MaxAttempts == 0 {
		d.MaxAttempts = core.DefaultMaxAttempts
	}
	return d
}
