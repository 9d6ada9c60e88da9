module github.com/goairlock/airlock/integration

go 1.26.0

replace github.com/goairlock/airlock => ../
