//go:build unix

package demo

import (
	"os/exec"
	"syscall"
)

// endsTogether makes npm end with everything it started: it is often a script that starts another.
func endsTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
