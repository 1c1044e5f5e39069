package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"assay/internal/policy"
	"assay/internal/report"
)

// A judged file is one that says what is accepted: a policy, one that it extends, or the pins.
type judged struct {
	data    []byte
	absent  bool
	nowhere bool // it is not there either as it lies in the work tree
}

// readPolicy reads the policy and the pins that count for a project.
func (s *session) readPolicy(ctx context.Context, project string) error {
	s.policy = policy.Default()
	if s.flags.unjudged {
		return nil
	}
	file := s.path(s.flags.policy)
	if file == "" && project != "" {
		file = filepath.Join(project, "assay.yaml")
	}
	if file == "" {
		return nil // there is neither a policy nor a project that has pins
	}
	at, err := s.judge(ctx, cmp.Or(project, s.env.Dir))
	if err != nil {
		return err
	}
	defer at.close()
	if file != "" {
		got, err := s.judgedFile(at, file, 1<<20)
		if err == nil && got.absent && s.flags.policy != "" && got.nowhere {
			err = fs.ErrNotExist
		}
		if err != nil {
			return usagef("", "reading the policy %s: %w", s.shown("", file), err)
		}
		if !got.absent {
			s.policyData = got.data
			read := func(name string) ([]byte, error) {
				more, err := s.judgedFile(at, s.path(filepath.FromSlash(name)), 1<<20)
				if err == nil && more.absent {
					err = fs.ErrNotExist
				}
				s.policyData = append(s.policyData, more.data...)
				return more.data, err
			}
			if s.policy, err = policy.Parse(got.data, s.shown("", file), read); err != nil {
				return usagef("docs/policy.md lists the keys", "reading the policy: %w", err)
			}
		}
	}
	if project == "" || s.flags.pinning {
		return nil
	}
	file = filepath.Join(project, policy.LockFile)
	got, err := s.judgedFile(at, file, 16<<20)
	if err != nil {
		return usagef("", "reading the pins: %w", err)
	}
	if got.absent {
		return nil
	}
	if s.lock, err = policy.ParseLock(got.data, s.shown("", file)); err != nil {
		return usagef("docs/pins.md describes the file", "reading the pins: %w", err)
	}
	return nil
}

// judgedFile reads a file as it counts: at a revision, where there is one and the file is part of the project's
// work tree, else as it lies there. Where the two differ, the report says so.
func (s *session) judgedFile(at *revision, file string, max int64) (judged, error) {
	name, inside := "", false
	if at != nil {
		if name, inside = at.within(file); !inside && s.flags.policyFrom != "" {
			return judged{}, fmt.Errorf("it is no part of the work tree %s, and --policy-from asks for it at a revision", at.top)
		}
	}
	if !inside {
		data, err := readFile(file, max)
		here := judged{data: data, absent: errors.Is(err, fs.ErrNotExist)}
		if here.nowhere = here.absent; here.absent {
			err = nil
		}
		return here, err
	}
	var here judged
	var err error
	info, statErr := os.Stat(file)
	plain := statErr == nil && info.Mode().IsRegular() // or reading it may take for ever
	if plain {
		here.data, err = readFile(file, max)
	}
	var there judged
	var thereErr error
	if there.data, there.absent, thereErr = at.read(name, max); thereErr != nil {
		return there, fmt.Errorf("as it is at %s: %w", at.commit, thereErr)
	}
	here.absent = errors.Is(statErr, fs.ErrNotExist)
	there.nowhere = there.absent && here.absent
	if there.absent != here.absent || !there.absent && (!plain || err != nil || !bytes.Equal(there.data, here.data)) {
		s.notes = append(s.notes, report.Note{Code: "policy-changed", Message: fmt.Sprintf(
			"%s is not what it is at %s, which counts here: what a change says about itself takes effect once it is merged", filepath.Base(file), at.commit)})
	}
	return there, nil
}
