package main

import (
	"slices"
	"strings"
)

// rootModule is the path of the module at the top of the repository.
const rootModule = "github.com/goairlock/airlock"

// A layer is one row of the layout: a folder, and what the packages in and below it
// may import in addition to the standard library and each other.
type layer struct {
	folder     string   // below the root; "." for the root package alone; a "*" is any one name
	may        []string // other layers that it may import
	thirdParty bool     // it may import modules of others
	without    []string // packages that it must not reach, not even indirectly, since users link them
	untagged   bool     // its modules are never released: it may import everything, and no released layer may import it
	files      []string // files that each package of it must have, see fileBreaks
}

// What the executor packages have in common. docs/design.md and the package comments
// say what is in each file.
var (
	inProcessFiles = []string{"executor.go", "options.go", "capabilities.go", "dispatch.go"}
	queueFiles     = append(slices.Clone(inProcessFiles), "mapping.go", "outcome.go", "worker.go", "delivery.go", "verdict.go")
)

// layers is the layout. The first row that matches a package is its layer.
var layers = []layer{
	{folder: "core"},
	{folder: "worker", may: []string{"core"}},
	{folder: "adapter", may: []string{"core", "worker"}},
	{folder: ".", may: []string{"core", "worker", "internal"}, without: []string{"net/http", "database/sql"}},
	{folder: "compose", may: []string{"core", "worker"}},
	{folder: "inspect", may: []string{"core"}},
	{folder: "outbox", may: []string{"core", "worker", "adapter", ".", "inspect", "internal"}},
	{folder: "airlockhttp", may: []string{"core", "."}},
	{folder: "airlocksql", may: []string{"core", "adapter", ".", "outbox", "internal"}}, // masks credentials in errors of drivers
	{folder: "airlocktest", may: []string{"core", "adapter", "."}},                      // its Recorder is an executor
	{folder: "airlockpgx", may: []string{"core", "adapter", ".", "outbox", "airlocksql", "internal"}, thirdParty: true},
	{folder: "otelairlock", may: []string{"core", "worker", "outbox"}, thirdParty: true},
	{folder: "internal/amqplink", may: []string{"core", "adapter"}, thirdParty: true}, // a module of its own, for two executors
	{folder: "internal"}, // code that several layers share
	{folder: "conformance", may: []string{"core", "worker", "adapter", "inspect", "internal"}},
	{folder: "executors/sync", may: []string{"core", "worker", "adapter", "internal"}, files: inProcessFiles},
	{folder: "executors/pool", may: []string{"core", "worker", "adapter", "inspect", "internal"}, files: inProcessFiles},
	{folder: "executors/celery", may: []string{"core", "worker", "adapter", "internal/amqplink"}, thirdParty: true, files: queueFiles},
	{folder: "executors/rabbitmq", may: []string{"core", "worker", "adapter", "inspect", "internal/amqplink"}, thirdParty: true, files: queueFiles},
	{folder: "executors/*", may: []string{"core", "worker", "adapter", "inspect"}, thirdParty: true, files: queueFiles},
	{folder: "integration", untagged: true},
	{folder: "benchmarks", untagged: true},
	{folder: "cmd", untagged: true}, // a command with every client: built from the repository
	{folder: "examples", untagged: true},
	{folder: "tools", untagged: true},
}

// servers are modules that only tests need. If a released module required one, its
// users would download it. Tests with servers are in integration.
var servers = []string{
	"github.com/nats-io/nats-server",
	"github.com/alicebob/miniredis",
	"modernc.org/sqlite",
}

// Names that say nothing about what is inside.
var (
	bannedPackages = []string{"util", "utils", "common", "helper", "helpers", "misc"}
	bannedFiles    = []string{"util.go", "utils.go", "common.go", "helper.go", "helpers.go", "misc.go"}
)

// layerOf finds the layer of a folder below the root, and the folder of that layer
// with any "*" filled in.
func layerOf(folder string) (l layer, own string, ok bool) {
	parts := strings.Split(folder, "/")
	for _, l := range layers {
		pattern := strings.Split(l.folder, "/")
		if l.folder == "." && folder != "." || len(parts) < len(pattern) {
			continue
		}
		matches := func(want, got string) bool { return want == "*" || want == got }
		if slices.EqualFunc(pattern, parts[:len(pattern)], matches) {
			return l, strings.Join(parts[:len(pattern)], "/"), true
		}
	}
	return layer{}, "", false
}

// folderOf turns an import path of this repository into its folder.
func folderOf(importPath string) (folder string, ok bool) {
	if importPath == rootModule {
		return ".", true
	}
	return strings.CutPrefix(importPath, rootModule+"/")
}

// rule is what the layer may import, for messages.
func (l layer) rule() string {
	names := []string{"the standard library"}
	for _, m := range l.may {
		if m == "." {
			m = "the root package"
		}
		names = append(names, m)
	}
	if l.thirdParty {
		names = append(names, "modules of others (but no server: tests with servers are in integration)")
	}
	name := l.folder
	if name == "." {
		name = "the root package"
	}
	return name + " may import " + strings.Join(names, ", ") + "; nothing else"
}
