package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"assay/internal/audit"
	"assay/internal/gittree"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

// fetchHint is what to do where a revision cannot be found.
const fetchHint = "fetch the whole history (actions/checkout: fetch-depth: 0; GitLab: GIT_DEPTH: 0; else git fetch --unshallow)"

// workTree reports whether a directory is part of a git work tree.
func workTree(ctx context.Context, dir string) bool {
	inside, err := gittree.Git(ctx, dir, "rev-parse", "--is-inside-work-tree")
	return err == nil && strings.TrimSpace(inside) == "true"
}

// commitOf returns the full hash of the commit that a revision names.
func commitOf(ctx context.Context, dir, rev string) (string, error) {
	if rev == "" || strings.HasPrefix(rev, "-") || strings.ContainsAny(rev, "\x00\n") {
		return "", usagef("for example origin/main", "%q is not a revision", rev)
	}
	if err := unambiguous(ctx, dir, rev); err != nil {
		return "", err
	}
	commit, err := gittree.Git(ctx, dir, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		hint := fetchHint
		if shallow, err := gittree.Git(ctx, dir, "rev-parse", "--is-shallow-repository"); err == nil && strings.TrimSpace(shallow) == "false" {
			hint = "git fetch origin gets what is new there"
		}
		return "", usagef(hint, "%q is not a revision here", rev)
	}
	return strings.TrimSpace(commit), nil
}

// began returns the commit where the work tree's state and a revision parted.
func began(ctx context.Context, dir, rev string) (string, error) {
	if strings.HasPrefix(rev, "-") {
		return "", usagef("for example origin/main", "%q is not a revision", rev)
	}
	if err := unambiguous(ctx, dir, rev); err != nil {
		return "", err
	}
	commit, err := gittree.Git(ctx, dir, "merge-base", "HEAD", rev)
	if err != nil {
		return "", usagef(fetchHint, "where this state and %s parted cannot be found: %w", strings.TrimPrefix(rev, remote), err)
	}
	return strings.TrimSpace(commit), nil
}

// baseCommit is the commit whose lockfile an audit is compared with, and its name for people; "" for none. The one
// that the command line names counts, else in CI on a change request the one where the change began, else the one
// where the work tree and the policy's ratchet parted. On the ratchet's own branch that is HEAD itself, which CI,
// where HEAD is what is new, compares with the one before.
func (s *session) baseCommit(ctx context.Context, dir, named string) (commit, name string, err error) {
	target, change := s.changeTarget()
	if change {
		if _, err := treeOf(ctx, dir); err != nil {
			return "", "", usagef("", "this is a change request, and what was there before it cannot be found: %w", err)
		}
	}
	if named != "" {
		commit, err = commitOf(ctx, dir, named)
		return commit, named, err
	}
	if !change {
		target = s.policy.Ratchet.Base
	}
	if target == "" || !workTree(ctx, dir) {
		return "", "", nil
	}
	if commit, err = began(ctx, dir, target); err != nil {
		return "", "", err
	}
	if ci, ok := s.env.Getenv("CI"); !change && ok && ci != "" && ci != "false" {
		if head, err := commitOf(ctx, dir, "HEAD"); err == nil && head == commit {
			if before, err := commitOf(ctx, dir, "HEAD^1"); err == nil {
				return before, target + ", one commit before", nil
			}
		}
	}
	return commit, strings.TrimPrefix(target, remote), nil
}

// at reads a project as it was at a commit; base is "." or the name of the file in dir that was read. It is nil where
// there was none.
func at(ctx context.Context, dir, base, commit string, o inventory.Options) (*inventory.Project, error) {
	tree, err := gittree.Open(ctx, dir, commit)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	p, err := inventory.OpenFS(tree, base, o)
	var missing *inventory.NotFoundError
	if errors.As(err, &missing) || err != nil && base != "." && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return p, err
}

// place takes a PATH apart: the project's directory, and "." or the name of the file in it that is meant. What lies in
// node_modules is no part of a revision, so the lockfile beside it is meant.
func (s *session) place(path string) (dir, base string) {
	dir = projectDir(s.env, path)
	full := s.path(path)
	if rel, err := filepath.Rel(dir, full); err == nil && rel != "." && rel != "node_modules" && !strings.ContainsAny(rel, `/\`) {
		return dir, rel
	}
	return dir, "."
}

// base gathers what the projects used before, nil where there is nothing to compare with. named is what the command
// line names, "" for nothing. What the ratchet compares with is verified.
func (s *session) base(ctx context.Context, paths []string, named string, o inventory.Options, today []audit.Target, options audit.Options) (*policy.Base, error) {
	var all *policy.Base
	var old []audit.Target
	for _, path := range paths {
		if path == "-" {
			continue
		}
		dir, base := s.place(path)
		if named != "" && !workTree(ctx, dir) {
			return nil, usagef("", "--base %s: %s is in no git work tree", named, s.shown("", dir))
		}
		commit, name, err := s.baseCommit(ctx, dir, named)
		if err != nil {
			return nil, err
		}
		if commit == "" {
			continue
		}
		p, err := at(ctx, dir, base, commit, inventory.Options{LegacyPeerDeps: o.LegacyPeerDeps})
		if err != nil {
			if s.policy.Ratchet.Base != "" || named != "" {
				return nil, usagef("", "reading what %s held: %w", name, err)
			}
			s.notes = append(s.notes, report.Note{Code: "base", Message: fmt.Sprintf("what %s held cannot be read, so everything counts as new: %v", name, err)})
			continue
		}
		if all == nil {
			all = &policy.Base{Revision: fmt.Sprintf("%s (%.12s)", name, commit), Packages: map[string][]policy.BasePackage{}}
		}
		if p != nil {
			old = append(old, s.addBase(all, p)...)
		}
	}
	if all == nil || s.policy.Ratchet.Base == "" {
		return all, nil
	}
	s.verifyBase(ctx, all, old, today, options)
	return all, nil
}

// addBase adds a project's packages to a base, and returns them as targets.
func (s *session) addBase(b *policy.Base, p *inventory.Project) []audit.Target {
	var targets []audit.Target
	for i := range p.Packages {
		o := &p.Packages[i]
		one := policy.BasePackage{Version: o.Version, Integrity: o.Integrity}
		if !slices.Contains(b.Packages[o.Name], one) {
			b.Packages[o.Name] = append(b.Packages[o.Name], one)
			targets = append(targets, s.target(p, i))
		}
	}
	return targets
}

// verifyBase finds out what holds of those packages of a base that something else takes the place of today.
func (s *session) verifyBase(ctx context.Context, b *policy.Base, old, today []audit.Target, options audit.Options) {
	changed := map[string]bool{}
	for i := range today {
		t := &today[i].Package
		if !slices.ContainsFunc(b.Packages[t.ID.Name], func(o policy.BasePackage) bool { return o.Version == t.ID.Version && o.Integrity == t.Integrity }) {
			changed[t.ID.Name] = true
		}
	}
	old = slices.DeleteFunc(old, func(t audit.Target) bool { return !changed[t.Package.ID.Name] })
	if len(old) == 0 {
		return
	}
	for i := range old {
		old[i].Dir, old[i].Resolve, old[i].Listed = "", nil, nil // nothing of it lies on disk
	}
	options.Policy, options.Lock, options.Base, options.Done = s.policy.Plain(), nil, nil, nil
	options.Tarballs, options.Installed, options.IncludeAttestations = false, false, false
	rep := audit.NewRunner(options).Run(ctx, old)
	for i := range rep.Packages {
		r := &rep.Packages[i]
		t := &old[r.Target]
		for k := range b.Packages[r.Name] {
			o := &b.Packages[r.Name][k]
			if o.Version == r.Version && o.Integrity == t.Package.Integrity {
				if o.Verdict, o.Publisher = r.Verdict, r.Publisher; gone(r) {
					o.Verdict = ""
				}
			}
		}
	}
}

// gone reports whether the registry does not have the version any more.
func gone(r *report.Package) bool {
	return r.Verdict == verify.Unchecked && slices.ContainsFunc(r.Checks, func(c verify.Result) bool {
		return c.Status == verify.Error && c.Reason == "version-absent"
	})
}

// versionOf is name@version for people.
func versionOf(id npm.ID) string { return cmp.Or(id.Name, "?") + "@" + id.Version }
