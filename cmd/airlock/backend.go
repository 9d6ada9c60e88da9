package main

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	_ "modernc.org/sqlite"

	asynqexec "github.com/goairlock/airlock/executors/asynq"
	natsexec "github.com/goairlock/airlock/executors/nats"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	riverexec "github.com/goairlock/airlock/executors/river"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

const (
	dialLimit = 10 * time.Second
	clientTag = "airlock command" // where a queue shows its clients
)

// backend is an open queue.
type backend struct {
	inspect.Inspector
	place string // where it is, without credentials
	close func()
}

// kind is a kind of URL.
type kind struct {
	options []string // in the query, that are not the client's own
	strict  bool     // the client has none of its own
	open    func(ctx context.Context, u *url.URL, option func(string) string) (inspect.Inspector, func(), error)
}

var kinds = map[string]kind{
	"asynq+redis":         {nil, false, openAsynq},
	"asynq+rediss":        {nil, false, openAsynq},
	"asynq+redis-cluster": {nil, false, openAsynqCluster},
	"work+redis":          {[]string{"namespace"}, true, openWork},
	"work+rediss":         {[]string{"namespace"}, true, openWork},
	"postgres":            {[]string{"schema"}, false, openRiver},
	"postgresql":          {[]string{"schema"}, false, openRiver},
	"river+sqlite":        {nil, true, openRiverSQLite},
	"nats":                {[]string{"stream", "creds"}, true, openNATS},
	"tls":                 {[]string{"stream", "creds"}, true, openNATS},
	"amqp":                {[]string{"prefix", "classic"}, false, openRabbit},
	"amqps":               {[]string{"prefix", "classic"}, false, openRabbit},
	"outbox+postgres":     {[]string{"table", "destination"}, false, openOutbox(outbox.Postgres, "pgx", postgresDSN)},
	"outbox+sqlite":       {[]string{"table", "destination"}, true, openOutbox(outbox.SQLite, "sqlite", sqliteDSN)},
	"outbox+mysql":        {[]string{"table", "destination"}, false, openOutbox(outbox.MySQL, "mysql", mysqlDSN)},
}

func schemes() []string { return slices.Sorted(maps.Keys(kinds)) }

// open opens the queue of a URL. Errors have no part of the URL but scheme and host,
// since anything else may be a password.
func open(ctx context.Context, raw string) (*backend, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: the URL of the queue is malformed; characters such as @, / and %% in a password must be escaped", errUsage)
	}
	k, ok := kinds[u.Scheme]
	if !ok {
		hint := ""
		if u.Scheme == "redis" || u.Scheme == "rediss" {
			hint = " Say which queue it is: asynq+" + u.Scheme + " or work+" + u.Scheme + "."
		}
		return nil, fmt.Errorf("%w: no queue has URLs that begin with %q.%s Known are: %s", errUsage, u.Scheme, hint, strings.Join(schemes(), ", "))
	}
	query := u.Query()
	options := map[string]string{}
	for name := range query {
		switch {
		case slices.Contains(k.options, name):
			options[name] = query.Get(name)
		case k.strict:
			return nil, fmt.Errorf("%w: the URL has an option %q; known are: %s", errUsage, name, strings.Join(k.options, ", "))
		}
	}
	for _, name := range k.options {
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	place := u.Scheme + "://" + u.Host
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	v, end, err := k.open(ctx, u, func(name string) string { return options[name] })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return &backend{v, place, end}, nil
}

// plain returns the URL without the name of the queue's library in its scheme.
func plain(u *url.URL) string {
	p := *u
	if _, scheme, ok := strings.Cut(p.Scheme, "+"); ok {
		p.Scheme = scheme
	}
	return p.String()
}

// badURL is for errors of clients about the URL, which may quote it.
func badURL(what string) error { return fmt.Errorf("%w: %s", errUsage, what) }

func openAsynq(_ context.Context, u *url.URL, _ func(string) string) (inspect.Inspector, func(), error) {
	opts, err := goredis.ParseURL(plain(u))
	if err != nil {
		return nil, nil, badURL("the client of Redis does not take the URL's path or options")
	}
	opts.ContextTimeoutEnabled = true
	rdb := goredis.NewClient(opts)
	v, err := asynqexec.NewInspector(rdb, nil)
	return v, func() { _ = rdb.Close() }, err
}

func openAsynqCluster(_ context.Context, u *url.URL, _ func(string) string) (inspect.Inspector, func(), error) {
	opts, err := goredis.ParseClusterURL(strings.Replace(plain(u), "redis-cluster:", "redis:", 1))
	if err != nil {
		return nil, nil, badURL("the client of Redis Cluster does not take the URL's options")
	}
	opts.ContextTimeoutEnabled = true
	rdb := goredis.NewClusterClient(opts)
	v, err := asynqexec.NewInspector(rdb, nil)
	return v, func() { _ = rdb.Close() }, err
}

func openWork(_ context.Context, u *url.URL, option func(string) string) (inspect.Inspector, func(), error) {
	address := plain(u)
	pool := &redis.Pool{MaxIdle: 2, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialURLContext(ctx, address, redis.DialConnectTimeout(dialLimit))
	}}
	v, err := workexec.NewInspector(pool, &workexec.InspectorOptions{Namespace: option("namespace")})
	return v, func() { _ = pool.Close() }, err
}

func openRiver(ctx context.Context, u *url.URL, option func(string) string) (inspect.Inspector, func(), error) {
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, nil, badURL("the client of PostgreSQL does not take the URL's options")
	}
	config.MaxConns = 4
	config.ConnConfig.RuntimeParams["application_name"] = clientTag
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	v, err := riverexec.NewInspector(riverpgxv5.New(pool), &riverexec.InspectorOptions{Schema: option("schema")})
	return v, pool.Close, err
}

func openRiverSQLite(_ context.Context, u *url.URL, _ func(string) string) (inspect.Inspector, func(), error) {
	dsn, err := sqliteDSN(u)
	if err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	v, err := riverexec.NewInspector(riversqlite.New(db), nil)
	return v, func() { _ = db.Close() }, err
}

func openNATS(_ context.Context, u *url.URL, option func(string) string) (inspect.Inspector, func(), error) {
	if option("stream") == "" {
		return nil, nil, badURL("the URL needs the option stream, as in nats://host:4222?stream=JOBS")
	}
	opts := []nats.Option{nats.Name(clientTag), nats.Timeout(dialLimit)}
	if file := option("creds"); file != "" {
		opts = append(opts, nats.UserCredentials(file))
	}
	conn, err := nats.Connect(u.String(), opts...)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	v, err := natsexec.NewInspector(js, option("stream"), nil)
	return v, conn.Close, err
}

func openRabbit(_ context.Context, u *url.URL, option func(string) string) (inspect.Inspector, func(), error) {
	if c := option("classic"); c != "" && c != "true" && c != "false" {
		return nil, nil, badURL("the option classic is true or false")
	}
	address := u.String()
	if _, err := amqp.ParseURI(address); err != nil {
		return nil, nil, badURL("the client of RabbitMQ does not take the URL")
	}
	dial := func(context.Context) (*amqp.Connection, error) {
		config := amqp.Config{Dial: amqp.DefaultDial(dialLimit), Properties: amqp.NewConnectionProperties()}
		config.Properties.SetClientConnectionName(clientTag)
		return amqp.DialConfig(address, config)
	}
	v, err := rabbitexec.NewInspector(dial, &rabbitexec.InspectorOptions{
		Topology: rabbitexec.Topology{Prefix: option("prefix"), Classic: option("classic") == "true"},
	})
	return v, func() {}, err
}
