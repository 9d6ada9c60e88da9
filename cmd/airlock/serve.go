package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/goairlock/airlock/inspect"
)

// serve serves the page until ctx ends.
func serve(ctx context.Context, c *call) error {
	host, _, err := net.SplitHostPort(c.addr)
	if err != nil {
		return fmt.Errorf("%w: -addr: want host:port, such as 127.0.0.1:8088", errUsage)
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if !loopback && c.hosts == "" {
		return fmt.Errorf("%w: -addr %s can be reached from other machines, and the page has no passwords: name the hosts with -host, and put a proxy with a login before it", errUsage, clean(c.addr))
	}
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	hosts := strings.FieldsFunc(c.hosts, func(r rune) bool { return r == ',' || r == ' ' })
	if loopback {
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		hosts = append(hosts, "localhost:"+port, "127.0.0.1:"+port, "[::1]:"+port)
	}
	server := &http.Server{
		Handler:           newPage(c.view, c.place, c.write, hosts),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	mode := "it changes nothing"
	if c.write {
		mode = "it can retry and discard"
	}
	fmt.Fprintf(c.err, "http://%s shows %s; %s\n", listener.Addr(), clean(c.place), mode)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pageLimit bounds one look at the queue.
const pageLimit = 15 * time.Second

// rows is how many dead jobs are on one page.
const rows = 50

// overview is what the page shows.
type overview struct {
	Place  string
	Now    string
	Write  bool
	Token  string
	Error  string
	Notice string
	Queues []inspect.Depth
	Queue  string // that is open
	Dead   []inspect.Job
	Next   string // cursor
}
