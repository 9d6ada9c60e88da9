package demo

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Options are what the command line says.
type Options struct {
	Executors []string      // their names
	Orders    string        // a file, "-" for the standard input, "" for the sample
	Wait      time.Duration // how long to wait for the jobs
	Late      time.Duration // how long after it is due a job may start
	Verbose   bool          // print every order and job
	Outbox    bool          // store each order with its jobs in one transaction
	Show      bool          // print PythonWorker instead

	absent []kind // what all leaves out for want of a URL

	// URLs of servers. "" means an embedded one, which RabbitMQ and Celery do not have.
	Redis, Postgres, NATS, RabbitMQ, Celery string
}

// kinds lists the executors. A new one has a line here and a file in the folder all.
var kinds = []kind{
	{name: "sync", about: "in the caller's goroutine, at once"},
	{name: "pool", about: "on goroutines of this process"},
	{name: "asynq", about: "hibiken/asynq on Redis, embedded or at -redis", server: "redis"},
	{name: "river", about: "River in a SQLite file or at -postgres, each order in a transaction with its jobs", server: "postgres"},
	{name: "nats", about: "NATS JetStream, embedded or at -nats", server: "nats"},
	{name: "work", about: "gocraft/work on Redis, embedded or at -redis", server: "redis"},
	{name: "rabbitmq", about: "RabbitMQ at -rabbitmq", server: "rabbitmq", needsURL: true},
	{name: "celery", about: "workers in Python on the Redis or RabbitMQ at -celery; -show prints them", server: "celery", needsURL: true},
}

type kind struct {
	name     string
	about    string
	server   string // the flag with the URL of its server, "" if it has none
	needsURL bool   // there is no embedded server
}

// Parse reads the command line. executors is the value of -executor if it is not given.
func Parse(args []string, executors string, errOut io.Writer) (*Options, error) {
	var o Options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(errOut)
	names := flags.String("executor", executors, "how the work is done: `names` with commas between them, or all"+describeKinds())
	flags.StringVar(&o.Orders, "orders", "", "JSON `file` of orders, - for the standard input (default: a sample)")
	flags.DurationVar(&o.Wait, "wait", time.Minute, "how long to wait for the jobs")
	flags.DurationVar(&o.Late, "late", 10*time.Second, "how long after it is due a job may start")
	flags.BoolVar(&o.Verbose, "v", false, "print every order and job, also with more than two executors")
	flags.BoolVar(&o.Outbox, "outbox", false, "store each order with its jobs in one transaction, in a SQLite file or at -postgres; a process is killed in the middle")
	flags.BoolVar(&o.Show, "show", false, "print the Python file of the workers for -celery, and end")
	flags.StringVar(&o.Redis, "redis", "", "`URL` of a Redis for asynq and work: redis://[user:password@]host:port/db")
	flags.StringVar(&o.Postgres, "postgres", "", "`URL` of a PostgreSQL database for river and -outbox")
	flags.StringVar(&o.NATS, "nats", "", "`URL` of a NATS server with JetStream")
	flags.StringVar(&o.RabbitMQ, "rabbitmq", "", "`URL` of a RabbitMQ: amqp://user:password@host:port/vhost")
	flags.StringVar(&o.Celery, "celery", "", "`URL` of the Redis or RabbitMQ of Celery workers: redis://… or amqp://…, as for -redis and -rabbitmq")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	given := map[string]bool{} // flags
	flags.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() != "" })
	if err := o.choose(*names, given); err != nil {
		return nil, err
	}
	o.Verbose = o.Verbose || len(o.Executors) <= 2
	return &o, nil
}

// choose finds the executors, and reports a URL that none of them uses.
func (o *Options) choose(names string, given map[string]bool) error {
	for _, k := range kinds {
		switch {
		case names != "all":
		case k.needsURL && !given[k.server]:
			o.absent = append(o.absent, k)
		default:
			o.Executors = append(o.Executors, k.name)
		}
	}
	if names != "all" {
		o.Executors = strings.Split(names, ",")
	}
	used := map[string]bool{"postgres": o.Outbox}
	for i, name := range o.Executors {
		k, ok := kindOf(name)
		switch {
		case !ok:
			return fmt.Errorf("-executor %s: want all or some of%s", name, describeKinds())
		case slices.Contains(o.Executors[:i], name):
			return fmt.Errorf("-executor: %s is there twice", name)
		case k.needsURL && !given[k.server]:
			return fmt.Errorf("-executor %s needs -%s URL", name, k.server)
		}
		used[k.server] = true
	}
	for _, k := range kinds {
		if k.server != "" && given[k.server] && !used[k.server] {
			return fmt.Errorf("-%s is of no use without -executor %s or all", k.server, k.name)
		}
	}
	if given["celery"] && o.CeleryBroker() == "" {
		return errors.New("-celery: want the URL of a Redis (redis:// or rediss://) or of a RabbitMQ (amqp:// or amqps://)")
	}
	return nil
}

// CeleryBroker returns the kind of server that the URL at -celery is of: "redis",
// "rabbitmq", or "" if it is of neither.
func (o *Options) CeleryBroker() string {
	before, _, ok := strings.Cut(o.Celery, "://")
	switch scheme := strings.ToLower(before); {
	case !ok:
		return ""
	case scheme == "redis", scheme == "rediss", scheme == "unix":
		return "redis"
	case scheme == "amqp", scheme == "amqps":
		return "rabbitmq"
	}
	return ""
}

func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// describeKinds has a line for each executor.
func describeKinds() string {
	var b strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&b, "\n  %-9s %s", k.name, k.about)
	}
	return b.String()
}
