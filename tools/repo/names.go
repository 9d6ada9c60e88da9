package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// nameBreaks returns which package or file has a name that says nothing, and which
// executor package lacks a file that every executor of its kind has.
func nameBreaks(packages []listedPackage) []string {
	var breaks []string
	for _, p := range packages {
		folder, _ := folderOf(p.ImportPath)
		for _, name := range []string{p.Name, path.Base(p.ImportPath)} {
			if slices.Contains(bannedPackages, name) {
				breaks = append(breaks, fmt.Sprintf("%s: a package named %s; rule: a name says what is inside", p.ImportPath, name))
				break
			}
		}
		for _, file := range p.GoFiles {
			if slices.Contains(bannedFiles, file) {
				breaks = append(breaks, fmt.Sprintf("%s/%s; rule: a file is named after the thing in it", folder, file))
			}
		}
		l, own, ok := layerOf(folder)
		if !ok || own != folder {
			continue // a package below an executor's has files of its own
		}
		var missing []string
		for _, file := range l.files {
			if !slices.Contains(p.GoFiles, file) {
				missing = append(missing, file)
			}
		}
		if len(missing) > 0 {
			breaks = append(breaks, fmt.Sprintf("%s has no %s; rule: executors of a kind have the same files", folder, strings.Join(missing, ", ")))
		}
	}
	return breaks
}
