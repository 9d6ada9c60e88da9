package celeryexec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/goairlock/airlock/core"
)

// message is a message of kombu's virtual transport. Fields that are not known here
// stay in its copies.
type message struct {
	raw                      []byte
	fields                   map[string]json.RawMessage
	headers                  map[string]json.RawMessage
	properties, deliveryInfo map[string]json.RawMessage
	plain                    []byte // the body on RabbitMQ, where it is not in fields
}

var errNotMessage = errors.New("no message of kombu's")

func parseMessage(raw []byte) (*message, error) {
	m := &message{raw: raw}
	if json.Unmarshal(raw, &m.fields) != nil || m.fields == nil {
		return m, errNotMessage
	}
	for field, into := range map[string]*map[string]json.RawMessage{"headers": &m.headers, "properties": &m.properties} {
		if json.Unmarshal(m.fields[field], into) != nil || *into == nil {
			return m, fmt.Errorf("%w: %s is no object", errNotMessage, field)
		}
	}
	_ = json.Unmarshal(m.properties["delivery_info"], &m.deliveryInfo) // kombu can do without
	return m, nil
}

// text returns a string of a part of a message, or false if it is none.
func text(part map[string]json.RawMessage, key string) (string, bool) {
	var s *string
	if json.Unmarshal(part[key], &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// isNull reports whether a value is missing or null.
func isNull(part map[string]json.RawMessage, key string) bool {
	v, ok := part[key]
	return !ok || string(v) == "null"
}

// body returns the decoded body.
func (m *message) body() ([]byte, error) {
	if kind, _ := text(m.fields, "content-type"); kind != "application/json" {
		return nil, fmt.Errorf("content-type %.40q, of which only application/json can be read", kind)
	}
	if encoding, ok := text(m.fields, "content-encoding"); ok && encoding != "utf-8" && encoding != "us-ascii" {
		return nil, fmt.Errorf("content-encoding %.40q, of which only utf-8 can be read", encoding)
	}
	if !isNull(m.headers, "compression") {
		return nil, errors.New("a compressed body")
	}
	if m.plain != nil {
		return m.plain, nil
	}
	body, ok := text(m.fields, "body")
	if !ok {
		return nil, errors.New("no body")
	}
	switch encoding, _ := text(m.properties, "body_encoding"); encoding {
	case "":
		return []byte(body), nil
	case "base64":
		data, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return nil, errors.New("a body that is not base64")
		}
		return data, nil
	default:
		return nil, fmt.Errorf("body_encoding %.40q", encoding)
	}
}

// copyWith returns the message with another delivery tag, so many attempts used, and
// due at a time unless that is zero.
func (m *message) copyWith(tag string, retries int, due time.Time) []byte {
	headers, properties, fields := maps.Clone(m.headers), maps.Clone(m.properties), maps.Clone(m.fields)
	headers["retries"] = appendInt(nil, int64(retries))
	delete(headers, "redelivered")
	if !due.IsZero() {
		headers["eta"] = appendTime(nil, due)
	}
	properties["delivery_tag"] = encode(tag)
	fields["headers"], fields["properties"] = encode(headers), encode(properties)
	return encode(fields)
}

// redelivered returns the message as kombu gives it to another worker.
func (m *message) redelivered() []byte {
	headers, fields := maps.Clone(m.headers), maps.Clone(m.fields)
	headers["redelivered"] = json.RawMessage("true")
	fields["headers"] = encode(headers)
	if m.deliveryInfo != nil {
		info, properties := maps.Clone(m.deliveryInfo), maps.Clone(m.properties)
		info["redelivered"] = json.RawMessage("true")
		properties["delivery_info"] = encode(info)
		fields["properties"] = encode(properties)
	}
	return encode(fields)
}

// encode encodes what was decoded, or is a string.
func encode(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// timeForms are how isoformat of Python and other producers write a time. A time
// without a zone is UTC, which is enable_utc of Celery.
var timeForms = []string{"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"}

// moment returns a time of the headers, zero for none.
func (m *message) moment(key string) (time.Time, error) {
	if isNull(m.headers, key) {
		return time.Time{}, nil
	}
	if s, ok := text(m.headers, key); ok {
		for _, form := range timeForms {
			if t, err := time.Parse(form, s); err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%s is no time: %w", key, core.ErrInvalid)
}
