// Command repo checks the repository's own rules and prepares its releases.
//
//	repo layers           list imports, names and go.mod lines that break the layout
//	repo links            list links in Markdown files that lead nowhere
//	repo dirs             list the folders of all modules, one per line
//	repo dirs tagged      list those that a release tags
//	repo dirs untagged    list those that it does not
//	repo outside          use every tagged module as a user outside would
//	repo downloads        print what go get of each tagged module downloads and compiles
//	repo version v0.2.0   set the version that the modules require of each other
//	repo tags             list the tags of a release with that version
//
// It runs from anywhere inside the repository. The modules are those of go.work and
// the rules are the table in layers.go.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: repo layers | links | dirs [tagged|untagged] | outside | downloads | version vX.Y.Z | tags")
	}
	ws, err := openWorkspace()
	if err != nil {
		return err
	}
	switch command, rest := args[0], args[1:]; {
	case command == "layers" && len(rest) == 0:
		return ws.checkLayers()
	case command == "links" && len(rest) == 0:
		return ws.checkLinks()
	case command == "dirs" && len(rest) <= 1:
		return ws.printDirs(rest)
	case command == "outside" && len(rest) == 0:
		return ws.outside()
	case command == "downloads" && len(rest) == 0:
		return ws.downloads()
	case command == "version" && len(rest) == 1:
		return ws.setVersion(rest[0])
	case command == "tags" && len(rest) == 0:
		return ws.printTags()
	}
	return fmt.Errorf("repo: unknown command %q", args)
}
