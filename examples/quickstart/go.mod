module github.com/goairlock/airlock/examples/quickstart

go 1.25.0

require (
	github.com/goairlock/airlock v0.1.0
	github.com/goairlock/airlock/executors/pool v0.1.0
	github.com/goairlock/airlock/executors/sync v0.1.0
)

replace (
	github.com/goairlock/airlock => ../..
	github.com/goairlock/airlock/executors/pool => ../../executors/pool
	github.com/goairlock/airlock/executors/sync => ../../executors/sync
)
