package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// downloads prints what each released module costs a new user, as a table in
// Markdown: go get of it alone from a test release, with an empty module cache, and a
// build with a cache that has only the standard library.
func (ws *workspace) downloads() error {
	temp, err := os.MkdirTemp("", "airlock-downloads-")
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	defer os.RemoveAll(temp)
	proxy, std := filepath.Join(temp, "proxy"), filepath.Join(temp, "std")
	for _, m := range ws.tagged() {
		if err := ws.release(m, proxy); err != nil {
			return err
		}
	}
	if _, err := output(temp, []string{"GOWORK=off", "GOCACHE=" + std, "GOFLAGS=-trimpath"}, "go", "build", "std"); err != nil {
		return err
	}
	fmt.Println("| go get | modules of others | compiled | their packages | downloaded | compiled in |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, m := range ws.tagged() {
		if m.internal() { // it is in the rows of those that require it
			continue
		}
		if err := ws.download(m, temp, proxy, std); err != nil {
			return err
		}
	}
	return nil
}

// download prints the row of one module.
func (ws *workspace) download(m module, temp, proxy, std string) error {
	user, err := os.MkdirTemp(temp, "user-")
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	defer os.RemoveAll(user)
	cache := filepath.Join(user, "build")
	if err := os.CopyFS(cache, os.DirFS(std)); err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	env, err := ws.userEnv(user, proxy)
	if err != nil {
		return err
	}
	env = append(env, "GOCACHE="+cache)
	for _, args := range [][]string{{"mod", "init", "example.com/user"}, {"get", m.path + "@" + ws.version()}} {
		if _, err := output(user, env, "go", args...); err != nil {
			return err
		}
	}
	build := exec.Command("go", "build", m.path+"/...")
	build.Dir, build.Env = user, append(os.Environ(), env...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("repo: go build %s/...: %w\n%s", m.path, err, out)
	}
	modules, err := output(user, env, "go", "list", "-m", "-f", "{{.Path}}", "all")
	if err != nil {
		return err
	}
	packages, err := output(user, env, "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", m.path+"/...")
	if err != nil {
		return err
	}
	compiled := others(packages)
	bytes, err := zips(filepath.Join(user, "cache", "cache", "download"))
	if err != nil {
		return err
	}
	fmt.Printf("| `%s` | %d | %d | %d | %.1f MB | %.0f s |\n", strings.TrimPrefix(m.path, "github.com/"),
		len(distinct(others(modules)))-1, len(distinct(compiled)), len(compiled), float64(bytes)/1e6,
		(build.ProcessState.UserTime() + build.ProcessState.SystemTime()).Round(time.Second).Seconds())
	return nil
}

// others returns the lines that are modules of other people.
func others(list string) []string {
	var others []string
	for path := range strings.FieldsSeq(list) {
		if !isOurs(path) {
			others = append(others, path)
		}
	}
	return others
}

func distinct(list []string) map[string]bool {
	set := map[string]bool{}
	for _, s := range list {
		set[s] = true
	}
	return set
}

// zips returns the size of the modules in a download cache.
func zips(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".zip" {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}
