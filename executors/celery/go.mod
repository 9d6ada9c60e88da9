module github.com/goairlock/airlock/executors/celery

go 1.25.0

require (
	github.com/goairlock/airlock v0.1.0
	github.com/goairlock/airlock/internal/amqplink v0.1.0
	github.com/rabbitmq/amqp091-go v1.16.0
	github.com/redis/go-redis/v9 v9.14.1
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
)

replace (
	github.com/goairlock/airlock => ../..
	github.com/goairlock/airlock/internal/amqplink => ../../internal/amqplink
)
