package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A listedPackage is what `go list -json` says of one package.
type listedPackage struct {
	ImportPath   string
	Name         string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	Module       *struct{ Path string }
}

// listPackages lists every package of the workspace, also those that do not build:
// the compiler reports these.
func (ws *workspace) listPackages() ([]listedPackage, error) {
	out, err := ws.goCommand("list", "-e", "-tags", "realservers",
		"-json=ImportPath,Name,GoFiles,Imports,TestImports,XTestImports,Deps,Module", "work")
	if err != nil {
		return nil, err
	}
	var packages []listedPackage
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("repo: read go list: %w", err)
		}
		packages = append(packages, p)
	}
}

// checkLayers returns an error that lists everything that breaks the layout.
func (ws *workspace) checkLayers() error {
	packages, err := ws.listPackages()
	if err != nil {
		return err
	}
	breaks, err := ws.moduleBreaks()
	if err != nil {
		return err
	}
	breaks = append(breaks, importBreaks(packages)...)
	breaks = append(breaks, nameBreaks(packages)...)
	if len(breaks) == 0 {
		return nil
	}
	return errors.New("the layout (tools/repo/layers.go) is broken:\n  " + strings.Join(breaks, "\n  "))
}

// importBreaks returns which imports break which rule.
func importBreaks(packages []listedPackage) []string {
	inRoot := make(map[string]bool)
	for _, p := range packages {
		inRoot[p.ImportPath] = p.Module != nil && p.Module.Path == rootModule
	}
	var breaks []string
	for _, p := range packages {
		folder, _ := folderOf(p.ImportPath)
		l, own, ok := layerOf(folder)
		if !ok {
			breaks = append(breaks, p.ImportPath+" is in no layer: add a row to the table")
			continue
		}
		if l.untagged {
			continue
		}
		for _, path := range p.Imports {
			if !l.allows(own, path) {
				breaks = append(breaks, fmt.Sprintf("%s imports %s; rule: %s", p.ImportPath, path, l.rule()))
			}
		}
		tests := slices.Concat(p.TestImports, p.XTestImports)
		slices.Sort(tests)
		for _, path := range slices.Compact(tests) {
			// Imports of a test reach no user, and a test may show how packages work
			// together: it may import the whole root module.
			if !l.allows(own, path) && !inRoot[path] {
				breaks = append(breaks, fmt.Sprintf("a test of %s imports %s; rule: %s (a test: and the root module)", p.ImportPath, path, l.rule()))
			}
		}
		for _, path := range l.without {
			if slices.Contains(p.Deps, path) {
				breaks = append(breaks, fmt.Sprintf("%s reaches %s; rule: it must not import it, not even indirectly", p.ImportPath, path))
			}
		}
	}
	return breaks
}

// allows reports whether a package of the layer in folder own may import path.
func (l layer) allows(own, path string) bool {
	if folder, ok := folderOf(path); ok {
		_, other, ok := layerOf(folder)
		return ok && (other == own || slices.Contains(l.may, other))
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return !slices.Contains(l.without, path)
	}
	isServer := func(module string) bool { return path == module || strings.HasPrefix(path, module+"/") }
	return l.thirdParty && !slices.ContainsFunc(servers, isServer)
}
