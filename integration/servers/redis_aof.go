package servers

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// repairAppendOnlyFile cuts off what a kill has left unfinished at the end of a server's append-only file. checker is
// redis-check-aof. Without a file there is nothing to do.
//
// Redis up to 8, and Valkey before its pull request 4342, cut off only the last command. If the kill hit the transaction
// of a script, the file then holds a MULTI without its EXEC. New commands are appended, and the next restart executes the
// half of the script.
func repairAppendOnlyFile(ctx context.Context, checker, dir string) error {
	var files []string
	for _, pattern := range []string{"appendonlydir/*.manifest", "appendonly.aof"} { // since Redis 7, and before
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	for _, file := range files {
		cmd := exec.CommandContext(ctx, checker, "--fix", file)
		cmd.Stdin = strings.NewReader("y\n")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("servers: repair %s: %w\n%s", filepath.Base(file), err, output)
		}
	}
	return nil
}
