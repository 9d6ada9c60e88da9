module github.com/goairlock/airlock/executors/work

go 1.25.0

require (
	github.com/goairlock/airlock v0.1.0
	github.com/gocraft/work v0.5.1
	github.com/gomodule/redigo v1.9.3
)

require github.com/robfig/cron v1.2.0 // indirect

replace github.com/goairlock/airlock => ../..
