// Airlock looks at job queues and acts on their jobs.
//
//	airlock stats   -queue URL                 how many jobs each queue has
//	airlock dead    -queue URL                 dead jobs and why they died
//	airlock list    -queue URL -state waiting  jobs in a state
//	airlock show    -queue URL -name mail ID   everything about a job
//	airlock retry   -queue URL -name mail ID…  run jobs again
//	airlock discard -queue URL -name mail ID…  remove jobs
//	airlock pause   -queue URL -name mail      start no more jobs
//	airlock resume  -queue URL -name mail      start jobs again
//	airlock serve   -queue URL                 a page for a browser
//
// # Queues
//
// The URL says where the jobs are. The environment variable AIRLOCK_QUEUE is used if
// there is no -queue, so that a password is not in the list of processes. -name is one
// queue; without it stats, dead and list show all.
//
//	asynq+redis://host:6379/0            hibiken/asynq; asynq+rediss for TLS
//	asynq+redis-cluster://host:6379      on Redis Cluster; ?addr=host:port adds nodes
//	work+redis://host:6379?namespace=work  gocraft/work; work+rediss for TLS
//	postgres://host/db?schema=river      River on PostgreSQL
//	river+sqlite:///path/to/file         River on SQLite
//	nats://host:4222?stream=JOBS         NATS JetStream; creds=file, tls://
//	amqp://host:5672/vhost?prefix=jobs.  RabbitMQ; classic=true, amqps://
//	outbox+postgres://host/db?destination=asynq  an outbox for asynq; ?table=
//	outbox+sqlite:///path/to/file
//	outbox+mysql://user@host/db          also MariaDB; tls=true
//
// An outbox is looked at for one destination. It need not be named if only one has rows.
//
// # Exit codes
//
//	0  done
//	1  the queue could not be reached, or answered with an error
//	2  wrong use: an unknown command, flag or URL
//	3  no such queue or job
//	4  refused: the job is running or done, its unique key is held by another job, it
//	   cannot be read, or this queue cannot do it
//
// If several jobs were named, the others are still tried, and the code is the highest.
//
// # Payloads
//
// Payloads and headers are shown only with -payload. Passwords in URLs are never shown.
package main
