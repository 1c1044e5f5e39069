package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"assay/internal/policy"
	"assay/internal/report"
)

// A judged file is one that says what is accepted: a policy, one that it extends, or the pins.
type judged struct {
	data   []byte
	absent bool
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
	where := cmp.Or(project, s.env.Dir)
	at, err := s.judge(ctx, where)
	if err != nil {
		return err
	}
	if file != "" {
		got, err := s.judgedFile(ctx, at, where, file, 1<<20)
		if err == nil && got.absent && s.flags.policy != "" && at == nil {
			err = fs.ErrNotExist
		}
		if err != nil {
			return usagef("", "reading the policy %s: %w", s.shown("", file), err)
		}
		if !got.absent {
			s.policyData = got.data
			read := func(name string) ([]byte, error) {
				more, err := s.judgedFile(ctx, at, where, s.path(filepath.FromSlash(name)), 1<<20)
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
	got, err := s.judgedFile(ctx, at, where, file, 16<<20)
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
func (s *session) judgedFile(ctx context.Context, at *revision, project, file string, max int64) (judged, error) {
	data, err := readFile(file, max)
	here := judged{data, errors.Is(err, fs.ErrNotExist)}
	if at == nil || s.flags.policyFrom == "" && !at.holds(ctx, project, file) {
		if here.absent {
			err = nil
		}
		return here, err
	}
	there := judged{}
	if there.data, there.absent, err = at.read(ctx, file); err != nil {
		return there, fmt.Errorf("as it is at %s: %w", at.commit, err)
	}
	if there.absent != here.absent || !bytes.Equal(there.data, here.data) {
		s.notes = append(s.notes, report.Note{Code: "policy-changed", Message: fmt.Sprintf(
			"%s is not what it is at %s, which counts here: what a change says about itself takes effect once it is merged", filepath.Base(file), at.commit)})
	}
	return there, nil
}
