module github.com/goairlock/airlock/executors/rabbitmq

go 1.25.0

require (
	github.com/goairlock/airlock v0.1.0
	github.com/goairlock/airlock/internal/amqplink v0.1.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

replace (
	github.com/goairlock/airlock => ../..
	github.com/goairlock/airlock/internal/amqplink => ../../internal/amqplink
)
