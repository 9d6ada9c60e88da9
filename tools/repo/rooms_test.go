package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEachRoomKeepsToItsRow(t *testing.T) {
	t.Parallel()
	const root = rootModule
	for name, c := range map[string]struct {
		pkg  listedPackage
		want string // in the only break, "" for none
	}{
		"core uses the standard library":       {listedPackage{ImportPath: root + "/core", Imports: []string{"context", "net/http", "C"}}, ""},
		"core uses a folder of its own":        {listedPackage{ImportPath: root + "/core", Imports: []string{root + "/core/internal/wire"}}, ""},
		"core uses compose":                    {listedPackage{ImportPath: root + "/core", Imports: []string{root + "/compose"}}, "core may import the standard library; nothing else"},
		"core uses another's module":           {listedPackage{ImportPath: root + "/core", Imports: []string{"golang.org/x/mod/semver"}}, "core imports golang.org/x/mod/semver"},
		"a test of core uses the root package": {listedPackage{ImportPath: root + "/core", XTestImports: []string{root}}, ""},
		"a test of core uses an executor":      {listedPackage{ImportPath: root + "/core", XTestImports: []string{root + "/executors/sync"}}, "a test of"},
		"a test of core uses another's module": {listedPackage{ImportPath: root + "/core", TestImports: []string{"example.com/assert"}}, "a test of"},
		"the root package uses net/http":       {listedPackage{ImportPath: root, Imports: []string{"net/http"}}, "the root package may import"},
		"the root package reaches sql":         {listedPackage{ImportPath: root, Deps: []string{"database/sql"}}, "reaches database/sql"},
		"airlockhttp uses net/http":            {listedPackage{ImportPath: root + "/airlockhttp", Imports: []string{"net/http", root}}, ""},
		"the suite uses its own broker":        {listedPackage{ImportPath: root + "/conformance/mutants", Imports: []string{root + "/conformance", root + "/core"}}, ""},
		"sync uses another's module":           {listedPackage{ImportPath: root + "/executors/sync", Imports: []string{"example.com/x"}}, "executors/sync may import"},
		"asynq uses its queue's library":       {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{"github.com/hibiken/asynq", root + "/core"}}, ""},
		"asynq uses river":                     {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{root + "/executors/river"}}, "imports " + root + "/executors/river"},
		"a test of asynq uses river":           {listedPackage{ImportPath: root + "/executors/asynq", XTestImports: []string{root + "/executors/river"}}, "a test of"},
		"asynq uses the root package":          {listedPackage{ImportPath: root + "/executors/asynq", Imports: []string{root}}, "executors/* may import"},
		"a test of nats brings its server":     {listedPackage{ImportPath: root + "/executors/nats", XTestImports: []string{"github.com/nats-io/nats-server/v2/server"}}, "a test of"},
		"an executor uses integration":         {listedPackage{ImportPath: root + "/executors/work", XTestImports: []string{root + "/integration"}}, "a test of"},
		"integration uses everything":          {listedPackage{ImportPath: root + "/integration", Imports: []string{root, "modernc.org/sqlite"}}, ""},
		"a folder without a row":               {listedPackage{ImportPath: root + "/util"}, "stands in no room"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rootPackage := listedPackage{ImportPath: root, Module: &struct{ Path string }{root}}
			expectBreak(t, importBreaks([]listedPackage{rootPackage, c.pkg}), c.want)
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
		"both as they should be":       {plainRoot, good, ""},
		"the root requires something":  {plainRoot + "\nrequire example.com/x v1.0.0\n", good, "the root module requires nothing"},
		"the replace line is missing":  {plainRoot, strings.Replace(good, "replace ", "// ", 1), "=> ../..`"},
		"the replace line goes astray": {plainRoot, strings.Replace(good, "=> ../..", "=> ..", 1), "=> ../..`"},
		"the path is not the folder":   {plainRoot, strings.Replace(good, "executors/asynq", "asynq", 1), "or no tag can publish it"},
		"the go line is short":         {plainRoot, strings.Replace(good, "1.25.0", "1.25", 1), "three numbers"},
		"go.work forgot it":            {plainRoot, "", "go.work does not use ./executors/asynq"},
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

func TestOneVersionForAllModules(t *testing.T) {
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

// expectBreak wants exactly one break that says want, or none.
func expectBreak(t *testing.T, breaks []string, want string) {
	t.Helper()
	if want == "" && len(breaks) == 0 {
		return
	}
	if want == "" || len(breaks) != 1 || !slices.ContainsFunc(breaks, func(b string) bool { return strings.Contains(b, want) }) {
		t.Errorf("broken: %q, want %q", breaks, want)
	}
}
