package rabbitexec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Delayed jobs climb down a ladder. Level n is a queue whose messages expire after
// 100 ms times 2^n, and then go to the exchange of the level below. A message's
// routing key has a word for each level, 1 if it waits there and 0 if it goes on at
// once, and its queue's address as the last word. All messages of a level wait
// equally long, so none blocks another one. Every virtual host has one ladder of
// each kind, which all queues share.
const (
	ladderPrefix = "airlock.delay."
	rungs        = 32
	step         = 100 * time.Millisecond
	// longestDelay is less than the ladder's 13.6 years.
	longestDelay = 13 * 365 * 24 * time.Hour
	// slack makes up for the clocks of the levels, each of which cuts off a
	// fraction of a millisecond.
	slack = (rungs + 1) * time.Millisecond
)

func kindOf(classic bool) string {
	if classic {
		return "classic."
	}
	return "quorum."
}

func rungName(classic bool, level int) string {
	return fmt.Sprintf("%s%s%02d", ladderPrefix, kindOf(classic), level)
}

func dueExchange(classic bool) string { return ladderPrefix + kindOf(classic) + "due" }

// address is the last word of a routing key: one word for any queue's name.
func address(native string) string {
	sum := sha256.Sum256([]byte(native))
	return hex.EncodeToString(sum[:16])
}

// waypoint returns where to publish a message that is due after a while.
func waypoint(classic bool, native string, after time.Duration) (exchange, key string) {
	steps := uint64((after + slack + step - 1) / step)
	var words strings.Builder
	first := 0
	for level := rungs - 1; level >= 0; level-- {
		bit := "0."
		if steps>>level&1 == 1 {
			bit = "1."
			first = max(first, level)
		}
		words.WriteString(bit)
	}
	return rungName(classic, first), words.String() + address(native)
}

func declareLadder(ch *amqp.Channel, classic bool) error {
	below := dueExchange(classic)
	if err := ch.ExchangeDeclare(below, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return err
	}
	for level := range rungs {
		name := rungName(classic, level)
		if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return err
		}
		args := queueArgs(classic)
		args["x-message-ttl"] = int64(step/time.Millisecond) << level
		args["x-dead-letter-exchange"] = below
		if !classic { // keeps a message until the queue that it goes to has confirmed it
			args["x-dead-letter-strategy"], args["x-overflow"] = "at-least-once", "reject-publish"
		}
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			return err
		}
		above := strings.Repeat("*.", rungs-1-level)
		if err := ch.QueueBind(name, above+"1.#", name, false, nil); err != nil {
			return err
		}
		if err := ch.ExchangeBind(below, above+"0.#", name, false, nil); err != nil {
			return err
		}
		below = name
	}
	return nil
}
