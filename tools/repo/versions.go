package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// firstVersion is what the modules require of each other before any release.
const firstVersion = "v0.1.0"

// version returns the version that the modules require of each other, which is that
// of the next release. If they disagree it is the highest.
func (ws *workspace) version() string {
	version := firstVersion
	for _, m := range ws.modules {
		for _, req := range m.file.Require {
			if isOurs(req.Mod.Path) && semver.Compare(req.Mod.Version, version) > 0 {
				version = req.Mod.Version
			}
		}
	}
	return version
}

// setVersion makes every module require this version of the others.
func (ws *workspace) setVersion(version string) error {
	if semver.Canonical(version) != version || semver.Major(version) != "v0" && semver.Major(version) != "v1" {
		return fmt.Errorf("repo: %q is not a version such as v0.2.0", version)
	}
	for _, m := range ws.modules {
		for _, req := range slices.Clone(m.file.Require) {
			if !isOurs(req.Mod.Path) {
				continue
			}
			if err := m.file.AddRequire(req.Mod.Path, version); err != nil {
				return fmt.Errorf("repo: %s: %w", m.folder, err)
			}
		}
		data, err := m.file.Format()
		if err != nil {
			return fmt.Errorf("repo: %s: %w", m.folder, err)
		}
		if err := os.WriteFile(filepath.Join(m.dir, "go.mod"), data, 0o644); err != nil {
			return fmt.Errorf("repo: %w", err)
		}
	}
	return nil
}

// printTags prints one tag for each module that a release tags.
func (ws *workspace) printTags() error {
	for _, m := range ws.tagged() {
		fmt.Println(strings.TrimPrefix(m.folder+"/"+ws.version(), "./"))
	}
	return nil
}
