//go:build unix

package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Opening a named pipe waits for somebody who writes to it.
func TestNamedPipe(t *testing.T) {
	for _, name := range []string{"yarn.lock", "pnpm-lock.yaml", "package.json", "pnpm-workspace.yaml", ".npmrc", "bom"} {
		dir := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
			t.Skip("no named pipes here:", err)
		}
		if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "pa") || strings.HasSuffix(name, "space.yaml") {
			if err := os.WriteFile(filepath.Join(dir, "pnpm-lock.yaml"), []byte(pnpmMS), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		open := dir
		if name == "bom" {
			open = filepath.Join(dir, name)
		}
		done := make(chan error, 1)
		go func() {
			_, err := Open(open, Options{})
			done <- err
		}()
		select {
		case err := <-done:
			if refused := name != ".npmrc"; refused != (err != nil && strings.Contains(err.Error(), "not a regular file")) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: still waiting", name)
		}
	}
}
