package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/nats-io/nats-server/v2/server"
)

// natsVariable carries the spec to the process that is to become a server.
const natsVariable = "AIRLOCK_SERVERS_BE_NATS"

// A test binary that finds the variable is not to run tests: it is a nats-server, and never gets past this function.
func init() {
	spec := os.Getenv(natsVariable)
	if spec == "" {
		return
	}
	if err := beNATS(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func beNATS(encoded string) error {
	var spec natsSpec
	if err := json.Unmarshal([]byte(encoded), &spec); err != nil {
		return fmt.Errorf("%s: %w", natsVariable, err)
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, terminate, os.Interrupt)
	opts := spec.options()
	opts.NoLog = false // to the output that the test shows when it fails
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	ns.ConfigureLogger()
	ns.Start()
	<-quit
	ns.Shutdown()
	ns.WaitForShutdown()
	return nil
}

// natsProcess is the engine of a server in a process of its own.
func natsProcess(spec natsSpec, ready func(context.Context) error) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return &process{
		command: func() *exec.Cmd {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), natsVariable+"="+string(encoded))
			return cmd
		},
		ready: ready,
		quit:  terminate,
	}, nil
}
