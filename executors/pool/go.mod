module github.com/goairlock/airlock/executors/pool

go 1.25.0

require github.com/goairlock/airlock v0.1.0

replace github.com/goairlock/airlock => ../..
