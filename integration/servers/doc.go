// Package servers starts the servers that tests need and stops them again: [Redis], [RedisCluster], [Postgres], [MariaDB],
// [PgBouncer], [RabbitMQ], [NATS] and [NATSCluster].
//
// # Yours alone
//
// Each call starts a server of its own on a reserved port of 127.0.0.1, with its data in a new folder: below TMPDIR, else below
// /dev/shm if that is in memory and has 8 GiB to spare, else below the system's temporary folder. It is ready when the call
// returns, and the test's Cleanup stops it and removes the folder. A call that cannot do its part ends the test with Fatal,
// never with Skip.
//
// # Kill, Restart, Stop
//
// Every server has these three methods; port and data outlive Kill and Restart. They may be called from any goroutine, one
// at a time is carried out. Kill is kill -9 of a process of its own; only a NATS server in the test's process, which is the
// default there, has no process to kill (see [NATSOptions]).
//
// On Linux the servers die with the test's process, however that ends. On other systems, and for the folders anywhere, that
// is left to Cleanup.
//
// # Servers that are there already
//
// When AIRLOCK_REDIS_URL, AIRLOCK_POSTGRES_URL, AIRLOCK_MARIADB_DSN or AIRLOCK_NATS_URL is set, Redis, Postgres, MariaDB and NATS
// return that server, unless the options ask for something it cannot promise. It is shared and not empty: tests use names of their own. Kill,
// Restart and Stop return [ErrExternal].
//
// # Which tests need what
//
// NATS servers are part of the test binary and need Go alone. Redis needs redis-server (7 or newer for a cluster) and Postgres
// needs initdb and postgres, on PATH or where Debian puts them. MariaDB needs mariadb-install-db and mariadbd, PgBouncer needs
// pgbouncer, and RabbitMQ needs epmd on PATH and rabbitmq-server where Debian puts it. install-servers.sh in this module installs
// them. Tests that call those carry the build tag realservers on their file, so that
//
//	go test ./...                     needs Go alone
//	go test -tags realservers ./...   runs everything
package servers
