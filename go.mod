module github.com/goairlock/airlock

go 1.25.0
