package rabbitexec

import (
	"errors"
	"fmt"

	"github.com/goairlock/airlock/internal/amqplink"
)

// fullName is what errors begin with.
const fullName = amqplink.Name("airlock: rabbitmq")

// Of a dead job that is stored again. Those of a dispatch are in amqplink, with what
// becomes of an intent.
var (
	errNegative = errors.New("airlock: rabbitmq: negative confirm")
	errLost     = errors.New("airlock: rabbitmq: connection or channel lost before the confirm")
)

func noQueue(native string) error {
	return fmt.Errorf("airlock: rabbitmq: no queue %q, or none for delayed jobs: EnsureQueues declares both", native)
}
