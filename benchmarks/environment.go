package main

import (
	"maps"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Environment is where, when and with what it was measured. It says what kind of
// machine it was, and not which one.
type Environment struct {
	Date      string // of the measurement, as in 2006-01-02
	CPU       string // the processor's model
	CPUs      int    // that the process may use
	OS, Arch  string
	Go        string
	Libraries map[string]string // versions by module
	Servers   map[string]string `json:",omitempty"` // versions by name
}

func newEnvironment(libraries []string) Environment {
	e := Environment{
		Date: time.Now().UTC().Format(time.DateOnly),
		CPU:  processor(), CPUs: runtime.GOMAXPROCS(0), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Go: runtime.Version(), Libraries: map[string]string{},
	}
	build, _ := debug.ReadBuildInfo() // nil without modules, which this program needs
	for _, dep := range build.Deps {
		if slices.Contains(libraries, dep.Path) {
			e.Libraries[dep.Path] = dep.Version
		}
	}
	return e
}

var modelName = regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`)

// processor returns the model of the processor, if the system says it as Linux does.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo") // empty on other systems
	if m := modelName.FindSubmatch(info); m != nil {
		return string(m[1])
	}
	return "unknown"
}

// String is the environment in one line.
func (e Environment) String() string {
	var parts []string
	for _, versions := range []map[string]string{e.Servers, e.Libraries} {
		for _, name := range slices.Sorted(maps.Keys(versions)) {
			parts = append(parts, strings.TrimPrefix(name, "github.com/")+" "+versions[name])
		}
	}
	return strings.Join(parts, ", ")
}
