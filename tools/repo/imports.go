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

// listPackages lists every package of the workspace. It goes on past a package
// that does not build: the compiler reports that better.
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

// checkRooms reports everything that breaks the layout, all of it at once.
func (ws *workspace) checkRooms() error {
	packages, err := ws.listPackages()
	if err != nil {
		return err
	}
	breaks, err := ws.moduleBreaks()
	if err != nil {
		return err
	}
	breaks = append(breaks, importBreaks(packages)...)
	if len(breaks) == 0 {
		return nil
	}
	return errors.New("the layout (tools/repo/rooms.go) is broken:\n  " + strings.Join(breaks, "\n  "))
}

// importBreaks says which imports break which rule.
func importBreaks(packages []listedPackage) []string {
	inRoot := make(map[string]bool)
	for _, p := range packages {
		inRoot[p.ImportPath] = p.Module != nil && p.Module.Path == rootModule
	}
	var breaks []string
	for _, p := range packages {
		folder, _ := folderOf(p.ImportPath)
		r, own, ok := roomOf(folder)
		if !ok {
			breaks = append(breaks, p.ImportPath+" stands in no room: give it a row in the table")
			continue
		}
		if r.untagged {
			continue
		}
		for _, path := range p.Imports {
			if !r.allows(own, path) {
				breaks = append(breaks, fmt.Sprintf("%s imports %s; rule: %s", p.ImportPath, path, r.rule()))
			}
		}
		tests := slices.Concat(p.TestImports, p.XTestImports)
		slices.Sort(tests)
		for _, path := range slices.Compact(tests) {
			// A test shows the package at work among its neighbours, and its
			// imports reach no user: the whole root module is open to it.
			if !r.allows(own, path) && !inRoot[path] {
				breaks = append(breaks, fmt.Sprintf("a test of %s imports %s; rule: %s (a test: and the root module)", p.ImportPath, path, r.rule()))
			}
		}
		for _, path := range r.without {
			if slices.Contains(p.Deps, path) {
				breaks = append(breaks, fmt.Sprintf("%s reaches %s; rule: it must not, not even through other packages", p.ImportPath, path))
			}
		}
	}
	return breaks
}

// allows reports whether a package of the room in folder own may import path.
func (r room) allows(own, path string) bool {
	if folder, ok := folderOf(path); ok {
		_, other, ok := roomOf(folder)
		return ok && (other == own || slices.Contains(r.may, other))
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return !slices.Contains(r.without, path)
	}
	isServer := func(module string) bool { return path == module || strings.HasPrefix(path, module+"/") }
	return r.thirdParty && !slices.ContainsFunc(servers, isServer)
}
