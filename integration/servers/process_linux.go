package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// inMemory returns a file system in memory, if there is one with 8 GiB to spare and TMPDIR names no other place. Servers that write
// through to a disk wait for it most of the time if many of them run, and a kill of a process loses nothing in memory either.
func inMemory() string {
	const shm, least = "/dev/shm", 8 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(shm, &fs) != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < least || syscall.Access(shm, 2) != nil {
		return ""
	}
	return shm
}

// dieWithParent has the kernel kill cmd when the test's process ends in whatever way.
func dieWithParent(cmd *exec.Cmd) {
	attributes(cmd).Pdeathsig = syscall.SIGKILL
}

func attributes(cmd *exec.Cmd) *syscall.SysProcAttr {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	return cmd.SysProcAttr
}

// An account is the user that a program runs as; nil is the one who runs the test.
type account struct {
	uid, gid int
}

// unprivileged is an account other than root's for programs that refuse to run as root, or nil when the test is not root's.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(found.Uid)
		gid, gidErr := strconv.Atoi(found.Gid)
		if uidErr == nil && gidErr == nil {
			return &account{uid: uid, gid: gid}, nil
		}
	}
	return nil, fmt.Errorf("the test runs as root, and there is neither a user postgres nor nobody")
}

// own gives a folder to the account.
func (a *account) own(dir string) error {
	if a == nil {
		return nil
	}
	return os.Chown(dir, a.uid, a.gid)
}

// as has cmd run as the account.
func (a *account) as(cmd *exec.Cmd) *exec.Cmd {
	if a != nil {
		attributes(cmd).Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// signalAll sends sig to the process and to its children, such as PostgreSQL's.
func signalAll(pid int, sig syscall.Signal) error {
	err := syscall.Kill(pid, sig)
	lists, globErr := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err = errors.Join(err, globErr); err != nil {
		return err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(children)) {
			if id, err := strconv.Atoi(child); err == nil {
				_ = syscall.Kill(id, sig) // it may have ended
			}
		}
	}
	return nil
}

func (p *process) pause() error { return signalAll(p.cmd.Process.Pid, syscall.SIGSTOP) }

func (p *process) resume() error { return signalAll(p.cmd.Process.Pid, syscall.SIGCONT) }
