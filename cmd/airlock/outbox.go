package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

// openOutbox returns how to open the outbox of one kind of database. dsn turns the URL
// into what the driver takes.
func openOutbox(dialect outbox.Dialect, driver string, dsn func(u *url.URL) (string, error)) func(context.Context, *url.URL, func(string) string) (inspect.Inspector, func(), error) {
	return func(ctx context.Context, u *url.URL, option func(string) string) (inspect.Inspector, func(), error) {
		source, err := dsn(u)
		if err != nil {
			return nil, nil, err
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			return nil, nil, badURL("the driver of the database does not take the URL's options")
		}
		db.SetMaxOpenConns(2)
		end := func() { _ = db.Close() }
		opts := &outbox.Options{For: nobody, Table: option("table"), Destination: option("destination")}
		box, err := outbox.New(dialect, opts)
		if err == nil && opts.Destination == "" {
			if opts.Destination, err = onlyDestination(ctx, box, outbox.SQL(db)); err == nil {
				box, err = outbox.New(dialect, opts)
			}
		}
		if err != nil {
			end()
			return nil, nil, err
		}
		v, err := outbox.NewInspector(box, outbox.SQL(db))
		return v, end, err
	}
}

// onlyDestination returns the destination that has rows, or "" if none has. It returns
// an error if there are several, since the command looks at one.
func onlyDestination(ctx context.Context, box *outbox.Box, db outbox.DB) (string, error) {
	found, err := box.Destinations(ctx, db)
	switch {
	case err != nil, len(found) == 0:
		return "", nil // if something is wrong the inspector finds it out, and says it better
	case len(found) > 1:
		return "", badURL("the outbox has rows for several destinations; choose one with ?destination=, of: " + strings.Join(found, ", "))
	}
	return found[0], nil
}

// nobody is what an outbox sends to that only looks.
func nobody(context.Context, ...core.Intent) error { return nil }

func postgresDSN(u *url.URL) (string, error) { return plain(u), nil }

// sqliteDSN refuses a file that does not exist, since SQLite would make it.
func sqliteDSN(u *url.URL) (string, error) {
	path := u.Host + u.Path
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return "", fmt.Errorf("there is no such file: %w", inspect.ErrNotFound)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)", nil
}

func mysqlDSN(u *url.URL) (string, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName, c.Timeout = "tcp", u.Host, trimSlash(u.Path), dialLimit
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	if u.Port() == "" {
		c.Addr += ":3306"
	}
	switch tls := u.Query().Get("tls"); tls {
	case "", "true", "false", "skip-verify", "preferred":
		c.TLSConfig = tls
	default:
		return "", badURL("the option tls is true, false, skip-verify or preferred")
	}
	return c.FormatDSN(), nil
}

func trimSlash(path string) string {
	if path != "" {
		return path[1:]
	}
	return ""
}
