package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEachPackageImportsOnlyWhatItsLayerMay(t *testing.T) {
	t.Parallel()
	const root = rootModule
	for name, c := range map[string]struct {
		pkg  listedPackage
		want string // in the only break, "" for none
	}{
		"core uses the standard library":       {listedPackage{ImportPath: root + "/core", Imports: []string{"context", "net/http", "C"}}, ""},
		"core uses a folder of its own":        {listedPackage{ImportPath: root + "/core", Imports: []string{root + "/core/internal/wire"}}, ""},
		"core uses compose":                    {listedPackage{ImportPath: root + "/core", Imports: []string{root + "/compose"}}, "core may import the standard library; nothing else"},
		"core uses worker":                     {listedPackage{ImportPath: root + "/core", Imports: []string{root + "/worker"}}, "core imports " + root + "/worker"},
		"worker uses core":                     {listedPackage{ImportPath: root + "/worker", Imports: []string{root + "/core"}}, ""},
		"worker uses adapter":                  {listedPackage{ImportPath: root + "/worker", Imports: []string{root + "/adapter"}}, "worker may import the standard library, core; nothing else"},
		"adapter uses core and worker":         {listedPackage{ImportPath: root + "/adapter", Imports: []string{root + "/core", root + "/worker"}}, ""},
		"adapter uses the root package":        {listedPackage{ImportPath: root + "/adapter", Imports: []string{root}}, "adapter may import"},
		"the root package uses worker":         {listedPackage{ImportPath: root, Imports: []string{root + "/core", root + "/worker"}}, ""},
		"the root package uses adapter":        {listedPackage{ImportPath: root, Imports: []string{root + "/adapter"}}, "the root package may import"},
		"outbox uses what it may":              {listedPackage{ImportPath: root + "/outbox", Imports: []string{root, root + "/core", root + "/adapter"}}, ""},
		"inspect uses adapter":                 {listedPackage{ImportPath: root + "/inspect", Imports: []string{root + "/adapter"}}, "inspect may import"},
		"airlockpgx uses outbox and pgx":       {listedPackage{ImportPath: root + "/airlockpgx", Imports: []string{root + "/outbox", "github.com/jackc/pgx/v5"}}, ""},
		"otelairlock uses the root package":    {listedPackage{ImportPath: root + "/otelairlock", Imports: []string{root, "go.opentelemetry.io/otel"}}, "otelairlock may import"},
		"pool uses internal":                   {listedPackage{ImportPath: root + "/executors/pool", Imports: []string{root + "/internal/ids", root + "/adapter", root + "/worker"}}, ""},
		"core uses another's module":           {listedPackage{ImportPath: root + "/core", Imports: []string{"golang.org/x/mod/semver"}}, "core imports golang.org/x/mod/semver"},
		"a test of core uses the root package": {listedPackage{ImportPath: root + "/core", XTestImports: []string{root}}, ""},
		"a test of core uses an executor":      {listedPackage{ImportPath: root + "/core", XTestImports: []string{root + "/executors/sync"}}, "a test of"},
		"a test of core uses another's module": {listedPackage{ImportPath: root + "/core", TestImports: []string{"example.com/assert"}}, "a test of"},
		"the root package uses net/http":       {listedPackage{ImportPath: root, Imports: []string{"net/http"}}, "the root package may import"},
		"the root package reaches sql":         {listedPackage{ImportPath: root, Deps: []string{"database/sql"}}, "reaches database/sql"},
		"airlockhttp uses net/http":            {listedPackage{ImportPath: root + "/airlockhttp", Imports: []string{"net/http", root}}, ""},
		"the suite uses its own broker":        {listedPackage{ImportPath: root + "/conformance/internal/mutants", Imports: []string{root + "/conformance", root + "/core", root + "/worker", root + "/adapter", root + "/internal/loopback"}}, ""},
		"sync uses another's module":           {listedPackage{ImportPath: root + "/executors/sync", Imports: []string{"example.com/x"}}, "executors/sync may import"},
		"asynq uses its queue's library":       {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{"github.com/hibiken/asynq", root + "/core", root + "/worker", root + "/adapter", root + "/inspect"}}, ""},
		"asynq uses internal":                  {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{root + "/internal/ids"}}, "executors/* may import"},
		"celery uses the shared AMQP code":     {listedPackage{ImportPath: root + "/executors/celery", Imports: []string{root + "/internal/amqplink"}}, ""},
		"asynq uses the shared AMQP code":      {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{root + "/internal/amqplink"}}, "executors/* may import"},
		"internal uses the shared AMQP code":   {listedPackage{ImportPath: root + "/internal/ids", Imports: []string{root + "/internal/amqplink"}}, "internal may import"},
		"asynq uses river":                     {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{root + "/executors/river"}}, "imports " + root + "/executors/river"},
		"a test of asynq uses river":           {listedPackage{ImportPath: root + "/executors/asynq", XTestImports: []string{root + "/executors/river"}}, "a test of"},
		"asynq uses the root package":          {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{root}}, "executors/* may import"},
		"a test of nats brings its server":     {listedPackage{ImportPath: root + "/executors/nats", XTestImports: []string{"github.com/nats-io/nats-server/v2/server"}}, "a test of"},
		"an executor uses integration":         {listedPackage{ImportPath: root + "/executors/work", XTestImports: []string{root + "/integration"}}, "a test of"},
		"integration uses everything":          {listedPackage{ImportPath: root + "/integration", Imports: []string{root, "modernc.org/sqlite"}}, ""},
		"a folder without a row":               {listedPackage{ImportPath: root + "/extra"}, "is in no layer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rootPackage := listedPackage{ImportPath: root, Module: &struct{ Path string }{root}}
			expectBreak(t, importBreaks([]listedPackage{rootPackage, c.pkg}), c.want)
		})
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	t.Parallel()
	const root = rootModule
	without := func(files []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(files), func(f string) bool { return f == name })
	}
	for name, c := range map[string]struct {
		pkg  listedPackage
		want string // in the only break, "" for none
	}{
		"an executor of a queue with every file": {listedPackage{ImportPath: root + "/executors/nats", Name: "natsexec", GoFiles: append([]string{"lanes.go", "script.go"}, queueFiles...)}, ""},
		"one without mapping.go":                 {listedPackage{ImportPath: root + "/executors/nats", Name: "natsexec", GoFiles: without(queueFiles, "mapping.go")}, "executors/nats has no mapping.go"},
		"one without any of the files":           {listedPackage{ImportPath: root + "/executors/other", Name: "otherexec", GoFiles: []string{"other.go"}}, "has no executor.go, options.go, capabilities.go, dispatch.go, mapping.go, outcome.go, worker.go, delivery.go, verdict.go;"},
		"one with a file helpers.go":             {listedPackage{ImportPath: root + "/executors/nats", Name: "natsexec", GoFiles: append([]string{"helpers.go"}, queueFiles...)}, "executors/nats/helpers.go"},
		"a package below an executor":            {listedPackage{ImportPath: root + "/executors/nats/internal/subject", Name: "subject", GoFiles: []string{"subject.go"}}, ""},
		"sync has no worker":                     {listedPackage{ImportPath: root + "/executors/sync", Name: "syncexec", GoFiles: inProcessFiles}, ""},
		"pool without dispatch.go":               {listedPackage{ImportPath: root + "/executors/pool", Name: "poolexec", GoFiles: without(inProcessFiles, "dispatch.go")}, "executors/pool has no dispatch.go"},
		"a folder named util":                    {listedPackage{ImportPath: root + "/internal/util", Name: "things", GoFiles: []string{"things.go"}}, "a package named util"},
		"a package named helpers":                {listedPackage{ImportPath: root + "/integration/x", Name: "helpers", GoFiles: []string{"x.go"}}, "a package named helpers"},
		"a file named common.go":                 {listedPackage{ImportPath: root, Name: "airlock", GoFiles: []string{"airlock.go", "common.go"}}, "./common.go"},
		"tests alone":                            {listedPackage{ImportPath: root + "/integration/x", Name: "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectBreak(t, nameBreaks([]listedPackage{c.pkg}), c.want)
		})
	}
}

func TestEachModuleKeepsTheConventions(t *testing.T) {
	t.Parallel()
	const (
		plainRoot = "module " + rootModule + "\n\ngo 1.25.0\n"
		good      = "module " + rootModule + "/executors/asynq\n\ngo 1.25.0\n\n" +
			"require " + rootModule + " v0.1.0\n\nreplace " + rootModule + " => ../..\n"
	)
	for name, c := range map[string]struct {
		root, asynq string
		want        string
	}{
		"both as they should be":      {plainRoot, good, ""},
		"the root requires something": {plainRoot + "\nrequire example.com/x v1.0.0\n", good, "the root module requires nothing"},
		"the replace line is missing": {plainRoot, strings.Replace(good, "replace ", "// ", 1), "=> ../..`"},
		"the replace line is wrong":   {plainRoot, strings.Replace(good, "=> ../..", "=> ..", 1), "=> ../..`"},
		"the path is not the folder":  {plainRoot, strings.Replace(good, "executors/asynq", "asynq", 1), "or no tag can publish it"},
		"the go line is short":        {plainRoot, strings.Replace(good, "1.25.0", "1.25", 1), "three numbers"},
		"it is not in go.work":        {plainRoot, "", "go.work does not use ./executors/asynq"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws := &workspace{root: t.TempDir()}
			ws.add(t, ".", c.root)
			if c.asynq == "" {
				write(t, filepath.Join(ws.root, "executors/asynq/go.mod"), good)
			} else {
				ws.add(t, "executors/asynq", c.asynq)
			}
			breaks, err := ws.moduleBreaks()
			if err != nil {
				t.Fatal(err)
			}
			expectBreak(t, breaks, c.want)
		})
	}
}

func TestAllModulesHaveOneVersion(t *testing.T) {
	t.Parallel()
	ws := &workspace{root: t.TempDir()}
	requires := func(folder, version string) string {
		return "module " + rootModule + "/" + folder + "\n\ngo 1.25.0\n\n" +
			"require " + rootModule + " " + version + "\n\nreplace " + rootModule + " => ../..\n"
	}
	ws.add(t, ".", "module "+rootModule+"\n\ngo 1.25.0\n")
	ws.add(t, "executors/asynq", requires("executors/asynq", "v0.1.0"))
	ws.add(t, "executors/river", requires("executors/river", "v0.2.0"))

	breaks, err := ws.moduleBreaks()
	if err != nil {
		t.Fatal(err)
	}
	expectBreak(t, breaks, "executors/asynq/go.mod: requires "+rootModule+" v0.1.0")

	if err := ws.setVersion("v0.3.0"); err != nil {
		t.Fatal(err)
	}
	for _, m := range ws.modules[1:] {
		data, err := os.ReadFile(filepath.Join(m.dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if want := requires(m.folder, "v0.3.0"); string(data) != want {
			t.Errorf("%s/go.mod is\n%s\nwant\n%s", m.folder, data, want)
		}
	}
	if err := ws.setVersion("v2.0.0"); err == nil {
		t.Error("v2.0.0 needs other module paths, yet it was taken")
	}
}

// add writes a go.mod and makes it part of the workspace.
func (ws *workspace) add(t *testing.T, folder, goMod string) {
	t.Helper()
	dir := filepath.Join(ws.root, folder)
	write(t, filepath.Join(dir, "go.mod"), goMod)
	file, err := readModFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	ws.modules = append(ws.modules, module{file.Module.Mod.Path, dir, folder, file})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := writeFile(name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// expectBreak expects exactly one break, which contains want, or none if want is "".
func expectBreak(t *testing.T, breaks []string, want string) {
	t.Helper()
	if want == "" && len(breaks) == 0 {
		return
	}
	if want == "" || len(breaks) != 1 || !slices.ContainsFunc(breaks, func(b string) bool { return strings.Contains(b, want) }) {
		t.Errorf("broken: %q, want %q", breaks, want)
	}
}
