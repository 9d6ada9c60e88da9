package conformance

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"

	"github.com/goairlock/airlock/core"
)

// secretKey is the header with the canary, in some of the jobs of a check.
const secretKey = "Conformance-Secret"

// secrets looks for a text that every payload of a check begins with, and that some
// headers have. It finds parts of it, and parts of usual encodings of it.
type secrets struct {
	canary  string
	needles []string // in lower case

	mu      sync.Mutex
	looked  int // at errors
	spilled []string
}

// mostLooked is at how many errors of a check are looked.
const mostLooked = 400

func newSecrets(random func() uint64) *secrets {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 42)
	for i := range b {
		b[i] = letters[random()%uint64(len(letters))]
	}
	s := &secrets{canary: string(b)}
	windows := func(text string, size, step int) {
		text = strings.ToLower(text)
		for i := 0; i+size <= len(text); i += step {
			s.needles = append(s.needles, text[i:i+size])
		}
	}
	windows(s.canary, 10, 5)
	for shift := range 3 { // base64 depends on where in three bytes a text begins
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), b...))
		windows(encoded[4:len(encoded)-4], 12, 4)
	}
	windows(hex.EncodeToString(b), 16, 8)
	for i := 0; i+5 <= len(b); i += 3 {
		part := fmt.Sprint(b[i : i+5])
		part = part[1 : len(part)-1]
		s.needles = append(s.needles, part, strings.ReplaceAll(part, " ", ","), strings.ReplaceAll(part, " ", ", "))
		part = fmt.Sprintf("%#v", b[i:i+5])
		s.needles = append(s.needles, part[strings.Index(part, "{")+1:len(part)-1])
	}
	return s
}

// in reports whether the beginning of a text shows the canary.
func (s *secrets) in(text string) bool {
	const enough = 8 << 10 // a payload begins with the canary
	text = strings.ToLower(text[:min(len(text), enough)])
	for _, n := range s.needles {
		if strings.Contains(text, n) {
			return true
		}
	}
	return false
}

// spill notes that something showed the canary.
func (s *secrets) spill(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.spilled) < 20 {
		s.spilled = append(s.spilled, what)
	}
}

func (s *secrets) spills() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spilled[:len(s.spilled):len(s.spilled)]
}

// look looks at an error, at all that it wraps, and at the outcomes in it, in every
// form in which a program may write them.
func (s *secrets) look(what string, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	s.looked++
	enough := s.looked > mostLooked || len(s.spilled) > 0
	s.mu.Unlock()
	if enough {
		return
	}
	s.walk(what, err, 0)
}

func (s *secrets) walk(what string, err error, depth int) {
	if err == nil || depth > 20 {
		return
	}
	for _, form := range []string{"%v", "%+v", "%#v"} {
		if s.in(format(form, err)) {
			s.spill(fmt.Sprintf("%s: %T with %s", what, err, form))
			return
		}
	}
	if s.in(asJSON(err)) {
		s.spill(fmt.Sprintf("%s: %T as JSON", what, err))
		return
	}
	if de, ok := err.(*core.DispatchError); ok && de != nil {
		for i, o := range de.Outcomes[:min(len(de.Outcomes), 20)] {
			s.walk(fmt.Sprintf("%s, outcome %d", what, i), o.Err, depth+1)
		}
	}
	for _, e := range unwrapped(err) {
		s.walk(what, e, depth+1)
	}
}

// unwrapped returns what an error wraps.
func unwrapped(err error) (list []error) {
	defer func() { _ = recover() }() // a nil pointer in an error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

// format is fmt.Sprintf for errors whose methods may panic.
func format(form string, err error) (text string) {
	defer func() { _ = recover() }()
	return fmt.Sprintf(form, err)
}

func asJSON(err error) (text string) {
	defer func() { _ = recover() }()
	b, _ := json.Marshal(err)
	return string(b)
}

// logger returns a logger for a system of the check. It writes nothing.
func (s *secrets) logger() *slog.Logger {
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	return slog.New(twoHandlers{slog.NewTextHandler(secretWriter{s, "as text"}, all), slog.NewJSONHandler(secretWriter{s, "as JSON"}, all)})
}

// twoHandlers gives each record to two handlers.
type twoHandlers struct{ a, b slog.Handler }

func (h twoHandlers) Enabled(context.Context, slog.Level) bool { return true }

func (h twoHandlers) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(h.a.Handle(ctx, r.Clone()), h.b.Handle(ctx, r))
}

func (h twoHandlers) WithAttrs(attrs []slog.Attr) slog.Handler {
	return twoHandlers{h.a.WithAttrs(attrs), h.b.WithAttrs(attrs)}
}

func (h twoHandlers) WithGroup(name string) slog.Handler {
	return twoHandlers{h.a.WithGroup(name), h.b.WithGroup(name)}
}

// secretWriter looks at the lines of a log.
type secretWriter struct {
	*secrets
	form string
}

func (w secretWriter) Write(line []byte) (int, error) {
	if w.in(string(line)) {
		w.spill("a line of the log " + w.form)
	}
	return len(line), nil
}

// standard is the standard logger's output while checks run, also that of the default
// slog logger.
var standard struct {
	mu     sync.Mutex
	before io.Writer
	live   map[*secrets]bool
}

// watchLog looks at the standard log until the function that it returns is called.
func (s *secrets) watchLog() (end func()) {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if len(standard.live) == 0 {
		standard.before, standard.live = log.Writer(), map[*secrets]bool{}
		log.SetOutput(standardWriter{})
	}
	standard.live[s] = true
	return func() {
		standard.mu.Lock()
		defer standard.mu.Unlock()
		if delete(standard.live, s); len(standard.live) == 0 {
			log.SetOutput(standard.before)
		}
	}
}

type standardWriter struct{}

func (standardWriter) Write(line []byte) (int, error) {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	for s := range standard.live {
		if s.in(string(line)) {
			s.spill("a line of the standard log")
		}
	}
	return standard.before.Write(line)
}
