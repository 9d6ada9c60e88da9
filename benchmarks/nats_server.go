package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsVariable carries the store's folder to the process that is to become a server.
const natsVariable = "AIRLOCK_BENCHMARKS_BE_NATS"

// A process of ours that finds the variable is a nats-server, until its input
// ends. So the server's memory is not counted with the client's.
func init() {
	dir := os.Getenv(natsVariable)
	if dir == "" {
		return
	}
	if err := beNATS(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func beNATS(dir string) error {
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return err
	}
	ns.Start()
	if !ns.ReadyForConnections(time.Minute) {
		return errors.New("nats-server is not ready after a minute")
	}
	fmt.Println(ns.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	ns.Shutdown()
	ns.WaitForShutdown()
	return err
}

// startNATS starts a server and returns its URL, and what stops it and removes its files.
func startNATS(ctx context.Context) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "airlock-bench-")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env, cmd.Stderr = append(os.Environ(), natsVariable+"="+dir), os.Stderr
	input, inputErr := cmd.StdinPipe()
	output, outputErr := cmd.StdoutPipe()
	if err := errors.Join(inputErr, outputErr, cmd.Start()); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() {
		input.Close()     //nolint:errcheck // it ends when the process does
		cmd.Wait()        //nolint:errcheck // what it did last is of no interest
		os.RemoveAll(dir) //nolint:errcheck // it lies in the temporary folder
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start nats-server: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}
