//go:build !unix

package publish

import (
	"os/exec"
	"time"
)

// endsTogether bounds how long a program that was told to end may take.
func endsTogether(cmd *exec.Cmd) { cmd.WaitDelay = 5 * time.Second }
