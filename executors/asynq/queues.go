package asynqexec

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goairlock/airlock/adapter"
)

const defaultQueue = adapter.DefaultQueue

func newQueueNames(names map[string]string) (adapter.QueueNames, error) {
	return adapter.NewQueueNames(name, names, possibleQueue)
}

// possibleQueue returns an error for a name that cannot be a queue of asynq's. Braces
// would move the hash tag of its keys, and the lanes use them.
func possibleQueue(native string) error {
	bad := func(r rune) bool { return r == '{' || r == '}' || unicode.IsControl(r) }
	if native == "" || strings.TrimSpace(native) != native || !utf8.ValidString(native) || strings.ContainsFunc(native, bad) {
		return errors.New("want UTF-8 that is not blank, without braces and control characters")
	}
	return nil
}

// queueOf returns the portable name of a native queue or lane.
func queueOf(names adapter.QueueNames, native string) string {
	queue, _, _ := strings.Cut(native, "}")
	return names.Portable(queue)
}
