module github.com/goairlock/airlock/internal/amqplink

go 1.25.0

require (
	github.com/goairlock/airlock v0.1.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

replace github.com/goairlock/airlock => ../..
