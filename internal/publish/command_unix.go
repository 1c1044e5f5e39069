//go:build unix

package publish

import (
	"os/exec"
	"syscall"
	"time"
)

// endsTogether makes a program end with everything it started: npm runs scripts through shells, and a shell that is
// killed leaves its children.
func endsTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
}
