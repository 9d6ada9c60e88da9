package rabbitexec

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// CheckServer reports what about the server or the queues would lose jobs or break a
// claim. It returns nil if it finds nothing. Call it once when a program starts. It is
// [core.ErrInvalid] if
//
//   - the server is RabbitMQ before 3.10, whose quorum queues have no time limits;
//   - one of the queues, the queue for its dead jobs, or the ladder for delayed jobs
//     does not exist. EnsureQueues declares them.
//
// AMQP does not show limits of a queue, policies or consumer_timeout. A queue with a
// maximum length should have overflow reject-publish: RabbitMQ's default drops the
// oldest jobs. Other errors are those of the connection and the context's.
func (e *Executor) CheckServer(ctx context.Context, queues ...string) error {
	if e == nil || e.guarded == nil {
		return errZeroExecutor
	}
	if ctx == nil {
		return invalid("CheckServer: nil context")
	}
	var found []error
	err := withChannel(ctx, e.dial, func(_ *amqp.Channel, conn *amqp.Connection) error {
		product, _ := conn.Properties["product"].(string)
		version, _ := conn.Properties["version"].(string)
		if product == "RabbitMQ" && olderThan(version, 3, 10) {
			found = append(found, invalid("CheckServer: RabbitMQ %s, want 3.10 or later", version))
		}
		for _, queue := range queues {
			native := e.topology.native(queue)
			for _, name := range []string{native, DeadQueue(native)} {
				exists, err := probe(conn, rungName(e.topology.Classic, rungs-1), name)
				if err != nil {
					return err
				}
				if !exists {
					found = append(found, invalid("CheckServer: no queue %q, or none for delayed jobs: EnsureQueues declares both", name))
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(found...)
}

// olderThan reports whether a version such as "3.10.8" is older. One that cannot be
// read is not.
func olderThan(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errors.Join(errA, errB) == nil && fmt.Sprintf("%06d%06d", a, b) < fmt.Sprintf("%06d%06d", major, minor)
}
