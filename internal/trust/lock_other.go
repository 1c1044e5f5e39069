//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package trust

import (
	"errors"
	"os"
)

// tryLock reports that there are no locks here.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
