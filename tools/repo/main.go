// Command repo keeps the repository's own rules and rehearses its releases.
//
//	repo rooms            which import or go.mod line breaks the layout
//	repo dirs             the folders of all modules, one to a line
//	repo dirs tagged      those that a release tags
//	repo dirs untagged    those that it does not
//	repo outside          use every tagged module as a stranger would
//	repo version v0.2.0   set the version that the modules require of one another
//	repo tags             the tags of a release at that version
//
// It runs from anywhere inside the repository. The modules come from go.work,
// what holds for each of them from the table in rooms.go.
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
		return errors.New("usage: repo rooms | dirs [tagged|untagged] | outside | version vX.Y.Z | tags")
	}
	ws, err := openWorkspace()
	if err != nil {
		return err
	}
	switch command, rest := args[0], args[1:]; {
	case command == "rooms" && len(rest) == 0:
		return ws.checkRooms()
	case command == "dirs" && len(rest) <= 1:
		return ws.printDirs(rest)
	case command == "outside" && len(rest) == 0:
		return ws.outside()
	case command == "version" && len(rest) == 1:
		return ws.setVersion(rest[0])
	case command == "tags" && len(rest) == 0:
		return ws.printTags()
	}
	return fmt.Errorf("repo: unknown command %q", args)
}
