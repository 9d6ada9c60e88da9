package main

import (
	"encoding/json"
	"fmt"
	"go/format"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	modpath "golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// outside releases the working tree to a module proxy in a temporary folder. Then it
// does what a new user would: make a module, go get, and build a program that imports
// every released package. Replace lines have no effect there, so this tests whether
// the modules find each other by version. It does not find a requirement that is
// missing in a go.mod, since go get adds it: `make alone` does.
func (ws *workspace) outside() error {
	temp, err := os.MkdirTemp("", "airlock-outside-")
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	defer os.RemoveAll(temp)
	proxy, user := filepath.Join(temp, "proxy"), filepath.Join(temp, "user")
	var get []string
	for _, m := range ws.tagged() {
		if err := ws.release(m, proxy); err != nil {
			return err
		}
		if !m.internal() { // others require it
			get = append(get, m.path+"@"+ws.version())
		}
	}
	program, err := ws.userProgram()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(user, "main.go"), program); err != nil {
		return err
	}
	env, err := ws.userEnv(temp, proxy)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"mod", "init", "example.com/user"},
		append([]string{"get"}, get...),
		{"vet", "./..."},
		{"run", "."},
	} {
		if _, err := output(user, env, "go", args...); err != nil {
			return err
		}
	}
	list, err := output(user, env, "go", "list", "-m", "all")
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(list, "\n") {
		if isOurs(strings.Fields(line)[0]) {
			fmt.Println(line)
		}
	}
	return nil
}

// userEnv returns the environment of somebody who has never seen the repository.
func (ws *workspace) userEnv(temp, proxy string) ([]string, error) {
	cache, err := ws.goCommand("env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	others, err := ws.goCommand("env", "GOPROXY")
	if err != nil {
		return nil, err
	}
	return []string{
		"GOWORK=off",
		// -trimpath: the next run finds the dependencies in the build cache, although
		// the temporary folder has another name. -modcacherw: it can be removed.
		"GOFLAGS=-mod=mod -trimpath -modcacherw",
		// A separate module cache, so that the test release does not stay in the
		// user's. What is in the user's cache is not downloaded again.
		"GOMODCACHE=" + filepath.Join(temp, "cache"),
		"GOPROXY=" + fileURL(proxy) + "," + fileURL(filepath.Join(cache, "cache", "download")) + "," + others,
		"GOPRIVATE=",
		"GONOPROXY=none",
		// No checksum database knows the test release.
		"GONOSUMDB=" + rootModule,
	}, nil
}

func fileURL(dir string) string {
	return "file:///" + strings.TrimPrefix(filepath.ToSlash(dir), "/")
}

// userProgram returns a program that imports every package that a user can import.
func (ws *workspace) userProgram() ([]byte, error) {
	packages, err := ws.listPackages()
	if err != nil {
		return nil, err
	}
	var src strings.Builder
	src.WriteString("package main\n\nimport (\n")
	for _, p := range packages {
		folder, _ := folderOf(p.ImportPath)
		l, _, ok := layerOf(folder)
		internal := strings.Contains("/"+folder+"/", "/internal/")
		if ok && !l.untagged && !internal && p.Name != "main" && len(p.GoFiles) > 0 {
			fmt.Fprintf(&src, "_ %q\n", p.ImportPath)
		}
	}
	src.WriteString(")\n\nfunc main() {}\n")
	return format.Source([]byte(src.String()))
}

// release writes one module into the proxy, with the files that a tag would publish:
// those that git tracks or would add, and none that it ignores.
func (ws *workspace) release(m module, proxy string) error {
	version := modpath.Version{Path: m.path, Version: ws.version()}
	escaped, err := modpath.EscapePath(m.path)
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version.Version, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	goMod, err := os.ReadFile(filepath.Join(m.dir, "go.mod"))
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	for name, data := range map[string][]byte{
		"list":                    []byte(version.Version + "\n"),
		version.Version + ".info": info,
		version.Version + ".mod":  goMod,
	} {
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	files, err := trackedFiles(m.dir)
	if err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(dir, version.Version+".zip"))
	if err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	defer out.Close()
	// Create leaves out modules in subfolders, as a release does.
	if err := zip.Create(out, version, files); err != nil {
		return fmt.Errorf("repo: zip %s: %w", m.path, err)
	}
	return out.Close()
}

// trackedFiles returns the files below dir that git tracks or would add.
func trackedFiles(dir string) ([]zip.File, error) {
	list, err := output(dir, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	if err != nil {
		return nil, err
	}
	var files []zip.File
	for name := range strings.SplitSeq(strings.Trim(list, "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil { // else deleted, not yet committed
			files = append(files, treeFile{dir, path.Clean(name)})
		}
	}
	return files, nil
}

// A treeFile is a file of the working tree, for a zip.
type treeFile struct{ dir, name string }

func (f treeFile) Path() string                 { return f.name }
func (f treeFile) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(f.dir, f.name)) }
func (f treeFile) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(f.dir, f.name)) }

func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return fmt.Errorf("repo: %w", err)
	}
	return nil
}
