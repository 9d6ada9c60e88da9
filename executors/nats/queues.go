package natsexec

import (
	"errors"
	"strings"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

func newQueueNames(names map[string]string) (adapter.QueueNames, error) {
	return adapter.NewQueueNames(name, names, possibleQueue)
}

// isTaskName checks a task's name by core's own rule.
func isTaskName(s string) bool {
	_, err := core.DeclareTask[struct{}](s).Intent(struct{}{})
	return err == nil
}

// possibleQueue returns an error for a name that a subject or a consumer's name cannot
// hold. Two dashes set lanes apart in the names of consumers.
func possibleQueue(native string) error {
	bad := native == "" || len(native) > 64 || strings.Contains(native, "--") || strings.ContainsAny(native, `.*>/\`)
	for i := range len(native) {
		bad = bad || native[i] <= ' ' || native[i] > '~'
	}
	if bad {
		return errors.New(`want 1 to 64 visible ASCII characters without . * > / \ and without --`)
	}
	return nil
}
