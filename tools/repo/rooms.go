package main

import (
	"slices"
	"strings"
)

// rootModule is the path of the module at the top of the repository.
const rootModule = "github.com/goairlock/airlock"

// A room is one row of the layout: a folder and what its packages may import.
// Every room may import the standard library and itself.
type room struct {
	folder     string   // below the root, "." for the root package alone; a "*" is any one name
	may        []string // other rooms that it may import
	thirdParty bool     // it may import the modules of others
	without    []string // what it must not even reach through others, for users link it
	untagged   bool     // its module is never released: it may import everything, no released room may import it
}

// rooms is the layout, and the only place that knows it. The first row that
// matches a package holds for it.
var rooms = []room{
	{folder: ".", may: []string{"core"}, without: []string{"net/http", "database/sql"}},
	{folder: "core"},
	{folder: "internal"}, // small parts that several rooms of ours share
	{folder: "compose", may: []string{"core"}},
	{folder: "airlockhttp", may: []string{"core", "."}},
	{folder: "airlocksql", may: []string{"core", "."}},
	{folder: "airlocktest", may: []string{"core", "."}},
	{folder: "conformance", may: []string{"core", "internal"}},
	{folder: "executors/sync", may: []string{"core", "internal"}},
	{folder: "executors/pool", may: []string{"core", "internal"}},
	{folder: "executors/*", may: []string{"core"}, thirdParty: true},
	{folder: "otelairlock", may: []string{"core"}, thirdParty: true},
	{folder: "integration", untagged: true},
	{folder: "benchmarks", untagged: true},
	{folder: "examples", untagged: true},
	{folder: "tools", untagged: true},
}

// servers are modules that only tests need. In a released module's go.mod they
// would reach its users, so they stay in integration.
var servers = []string{
	"github.com/nats-io/nats-server",
	"github.com/alicebob/miniredis",
	"modernc.org/sqlite",
}

// roomOf finds the room of a folder below the root, and the folder of that
// room with any "*" filled in.
func roomOf(folder string) (r room, own string, ok bool) {
	parts := strings.Split(folder, "/")
	for _, r := range rooms {
		pattern := strings.Split(r.folder, "/")
		if r.folder == "." && folder != "." || len(parts) < len(pattern) {
			continue
		}
		matches := func(want, got string) bool { return want == "*" || want == got }
		if slices.EqualFunc(pattern, parts[:len(pattern)], matches) {
			return r, strings.Join(parts[:len(pattern)], "/"), true
		}
	}
	return room{}, "", false
}

// folderOf turns an import path of this repository into its folder.
func folderOf(importPath string) (folder string, ok bool) {
	if importPath == rootModule {
		return ".", true
	}
	return strings.CutPrefix(importPath, rootModule+"/")
}

// rule says in words what the room may import.
func (r room) rule() string {
	names := []string{"the standard library"}
	for _, m := range r.may {
		if m == "." {
			m = "the root package"
		}
		names = append(names, m)
	}
	if r.thirdParty {
		names = append(names, "the modules of others (but no server: those stay in integration)")
	}
	name := r.folder
	if name == "." {
		name = "the root package"
	}
	return name + " may import " + strings.Join(names, ", ") + "; nothing else"
}
