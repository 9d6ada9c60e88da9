module github.com/goairlock/airlock/integration/asynqtools

go 1.26.0

replace (
	github.com/goairlock/airlock => ../../
	github.com/goairlock/airlock/executors/asynq => ../../executors/asynq
)

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/goairlock/airlock v0.1.0
	github.com/goairlock/airlock/executors/asynq v0.1.0
	github.com/hibiken/asynq v0.26.0
	github.com/hibiken/asynqmon v0.7.2
	github.com/redis/go-redis/v9 v9.14.1
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/gorilla/mux v1.8.0 // indirect
	github.com/robfig/cron/v3 v3.0.1 // indirect
	github.com/spf13/cast v1.10.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	golang.org/x/sys v0.37.0 // indirect
	golang.org/x/time v0.14.0 // indirect
	google.golang.org/protobuf v1.36.10 // indirect
)
