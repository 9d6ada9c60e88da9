package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// A workspace is the modules of go.work.
type workspace struct {
	root    string
	modules []module
}

type module struct {
	path   string
	dir    string
	folder string // below the root, "." for the root module
	file   *modfile.File
}

func openWorkspace() (*workspace, error) {
	ws := new(workspace)
	work, err := ws.goCommand("env", "GOWORK")
	if err != nil {
		return nil, err
	}
	if work == "" || work == "off" {
		return nil, errors.New("repo: no go.work: run inside the repository, without GOWORK=off")
	}
	ws.root = filepath.Dir(work)
	list, err := ws.goCommand("list", "-m", "-json")
	if err != nil {
		return nil, err
	}
	for dec := json.NewDecoder(strings.NewReader(list)); ; {
		var m struct{ Path, Dir string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return ws, nil
		} else if err != nil {
			return nil, fmt.Errorf("repo: read go list -m: %w", err)
		}
		folder, err := filepath.Rel(ws.root, m.Dir)
		if err != nil {
			return nil, fmt.Errorf("repo: %w", err)
		}
		file, err := readModFile(filepath.Join(m.Dir, "go.mod"))
		if err != nil {
			return nil, err
		}
		ws.modules = append(ws.modules, module{m.Path, m.Dir, filepath.ToSlash(folder), file})
	}
}

func readModFile(name string) (*modfile.File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("repo: %w", err)
	}
	file, err := modfile.Parse(name, data, nil)
	if err != nil {
		return nil, fmt.Errorf("repo: %w", err)
	}
	return file, nil
}

// goCommand runs the go command at the root and returns its output.
func (ws *workspace) goCommand(args ...string) (string, error) {
	return output(ws.root, nil, "go", args...)
}

// output runs a command in dir, with env added to the environment, and returns its
// standard output. The error includes its standard error.
func output(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("repo: %s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (m module) tagged() bool {
	l, _, ok := layerOf(m.folder)
	return ok && !l.untagged
}

// internal reports whether only modules of this repository can use the module.
func (m module) internal() bool { return strings.HasPrefix(m.folder, "internal/") }

// tagged returns the modules that a release tags.
func (ws *workspace) tagged() []module {
	return slices.DeleteFunc(slices.Clone(ws.modules), func(m module) bool { return !m.tagged() })
}

func (ws *workspace) printDirs(kind []string) error {
	for _, m := range ws.modules {
		switch {
		case len(kind) == 0, kind[0] == "tagged" && m.tagged(), kind[0] == "untagged" && !m.tagged():
			fmt.Println(m.folder)
		case kind[0] != "tagged" && kind[0] != "untagged":
			return fmt.Errorf("repo: dirs takes tagged or untagged, not %q", kind[0])
		}
	}
	return nil
}

// isOurs reports whether a module path belongs to this repository.
func isOurs(path string) bool {
	_, ours := folderOf(path)
	return ours
}

// moduleBreaks returns which go.mod breaks which convention.
func (ws *workspace) moduleBreaks() ([]string, error) {
	breaks, err := ws.unlistedModules()
	if err != nil {
		return nil, err
	}
	version := ws.version()
	for _, m := range ws.modules {
		say := func(format string, args ...any) {
			breaks = append(breaks, fmt.Sprintf("%s: ", filepath.ToSlash(filepath.Join(m.folder, "go.mod")))+fmt.Sprintf(format, args...))
		}
		if m.path == rootModule && len(m.file.Require) > 0 {
			say("requires %s; rule: the root module requires nothing, so that its users download nothing else", m.file.Require[0].Mod.Path)
		}
		if want := strings.TrimSuffix(rootModule+"/"+m.folder, "/."); m.path != want {
			say("has the module path %s; rule: %s, or no tag can publish it", m.path, want)
		}
		if m.file.Go == nil || strings.Count(m.file.Go.Version, ".") != 2 {
			say(`the go line needs three numbers, as in "go 1.25.0"`)
		}
		for _, req := range m.file.Require {
			if !isOurs(req.Mod.Path) {
				continue
			}
			if req.Mod.Version != version {
				say("requires %s %s; rule: all modules have one version, here %s (make version VERSION=%[3]s)", req.Mod.Path, req.Mod.Version, version)
			}
			replaced := func(r *modfile.Replace) bool {
				return r.Old.Path == req.Mod.Path && r.Old.Version == "" && filepath.Join(m.dir, r.New.Path) == ws.dirOf(req.Mod.Path)
			}
			if !slices.ContainsFunc(m.file.Replace, replaced) {
				rel, _ := filepath.Rel(m.dir, ws.dirOf(req.Mod.Path))
				say("requires %s without `replace %[1]s => %s`, which makes it build with GOWORK=off", req.Mod.Path, filepath.ToSlash(rel))
			}
		}
	}
	return breaks, nil
}

// dirOf returns the folder of a module path of this repository.
func (ws *workspace) dirOf(path string) string {
	folder, _ := folderOf(path)
	return filepath.Join(ws.root, folder)
}

// unlistedModules returns each go.mod that is not in go.work. Only tools is left out,
// so that the dependencies of the tools do not decide what the product builds with.
func (ws *workspace) unlistedModules() ([]string, error) {
	var breaks []string
	err := filepath.WalkDir(ws.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || name == filepath.Join(ws.root, "tools")) {
			return filepath.SkipDir
		}
		dir := filepath.Dir(name)
		listed := func(m module) bool { return m.dir == dir }
		if d.Name() == "go.mod" && !slices.ContainsFunc(ws.modules, listed) {
			folder, _ := filepath.Rel(ws.root, dir)
			breaks = append(breaks, fmt.Sprintf("go.work does not use ./%s, so no check reaches it", filepath.ToSlash(folder)))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("repo: %w", err)
	}
	return breaks, nil
}
