module github.com/goairlock/airlock/integration/worktools

go 1.26.0

replace (
	github.com/goairlock/airlock => ../../
	github.com/goairlock/airlock/executors/work => ../../executors/work
)

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/goairlock/airlock v0.1.0
	github.com/goairlock/airlock/executors/work v0.1.0
	github.com/gocraft/work v0.5.1
	github.com/gomodule/redigo v1.9.3
)

require (
	github.com/braintree/manners v0.0.0-20150503212558-0b5e6b2c2843 // indirect
	github.com/gocraft/web v0.0.0-20190207150652-9707327fb69b // indirect
	github.com/robfig/cron v1.2.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
)
