package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"assay/internal/gittree"
)

// A revision is a state of the work tree that policy and pins are taken from.
type revision struct {
	commit string
	top    string // directory of the work tree, as the project's path spells it
	tree   *gittree.Tree
}

// judge returns the revision whose policy and pins count: the one named by --policy-from, else, in CI on a change
// request, the one where the change began, since a change must not judge itself. It is nil where the files as they
// lie there count. Where it cannot be found, nothing counts: what the change itself says would be let through else.
func (s *session) judge(ctx context.Context, project string) (*revision, error) {
	rev := s.flags.policyFrom
	target, change := s.changeTarget()
	if rev == "" && !change {
		return nil, nil
	}
	if strings.HasPrefix(rev, "-") {
		return nil, usagef("", "--policy-from %q is not a revision", rev)
	}
	top, err := treeOf(ctx, project)
	var commit string
	switch {
	case err != nil && rev == "":
		return nil, usagef("install git before the checkout, and let the checkout make a git work tree (git config --global --add safe.directory DIR where it is somebody else's)",
			"this is a change request, so policy and pins have to come from where it began, and that cannot be found: %w", err)
	case err != nil:
		return nil, usagef("", "--policy-from %s: %w", rev, err)
	case rev == "":
		base, err := gittree.Git(ctx, top, "merge-base", "HEAD", target)
		if err != nil {
			return nil, usagef("fetch the whole history (actions/checkout: fetch-depth: 0; GitLab: GIT_DEPTH: 0), or name a revision with --policy-from",
				"this is a change request, so policy and pins have to come from where it began, and that cannot be found: %w", err)
		}
		commit = strings.TrimSpace(base)
	default:
		if err := unambiguous(ctx, top, rev); err != nil {
			return nil, err
		}
		found, err := gittree.Git(ctx, top, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
		if err != nil {
			return nil, usagef("for example --policy-from origin/main", "--policy-from %q is not a revision here", rev)
		}
		commit = strings.TrimSpace(found)
	}
	tree, err := gittree.Open(ctx, top, commit)
	if err != nil {
		return nil, usagef(fetchHint, "policy and pins have to come from %s: %w", commit, err)
	}
	return &revision{commit, top, tree}, nil
}

func (r *revision) close() {
	if r != nil {
		r.tree.Close()
	}
}

// treeOf returns the directory of the git work tree that a directory is part of, as the directory's path spells it. A
// change can put all kinds of things in a directory's place: by the way there, no symlink inside the work tree is
// followed, and neither a submodule nor what only looks like a repository is taken for one.
func treeOf(ctx context.Context, dir string) (string, error) {
	dir = filepath.Clean(dir)
	here := dir
	for {
		if info, err := os.Stat(here); err == nil && info.IsDir() {
			break
		}
		if here == filepath.Dir(here) {
			return "", fmt.Errorf("%s is not there", dir)
		}
		here = filepath.Dir(here)
	}
	out, err := gittree.Git(ctx, here, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	root := filepath.FromSlash(strings.TrimRight(out, "\r\n"))
	// No checkout writes a .git, so what has one was not made by what is checked out.
	if _, err := os.Lstat(filepath.Join(root, ".git")); err != nil {
		return "", fmt.Errorf("%s is called a git work tree and has no .git", root)
	}
	if super, err := gittree.Git(ctx, here, "rev-parse", "--show-superproject-working-tree"); err != nil {
		return "", err
	} else if super = strings.TrimSpace(super); super != "" {
		return "", fmt.Errorf("%s is a submodule of %s, and which commit of it counts is for a change to say", root, super)
	}
	info, err := os.Stat(root)
	if err != nil {
		return "", err
	}
	top := ""
	for above := here; ; above = filepath.Dir(above) { // the topmost counts: below it may be links to it
		if i, err := os.Stat(above); err == nil && os.SameFile(i, info) {
			top = above
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if top == "" {
		return "", fmt.Errorf("%s leads by a symlink into the work tree %s; name the directory that it leads to", dir, root)
	}
	for part := here; part != top; part = filepath.Dir(part) {
		if i, err := os.Lstat(part); err != nil || i.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0 {
			return "", fmt.Errorf("%s is a symlink, which a change can let lead elsewhere; name the directory that it leads to", part)
		}
	}
	return top, nil
}

// within is a file's path in the work tree, with slashes; ok is false where it lies outside of it.
func (r *revision) within(file string) (name string, ok bool) {
	file = filepath.Clean(file)
	if rel, err := filepath.Rel(r.top, file); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), true
	}
	// A link from elsewhere may lead into it.
	top, err := filepath.EvalSymlinks(r.top)
	if err != nil {
		return "", false
	}
	rest := ""
	for dir := file; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			rel, err := filepath.Rel(top, filepath.Join(real, rest))
			return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// read returns a file of the work tree as it is at the revision; absent says that it is not there. Symlinks lead where
// they led then.
func (r *revision) read(name string, max int64) (data []byte, absent bool, err error) {
	info, err := r.tree.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err == nil && info.Size() > max {
		err = fmt.Errorf("%s is larger than %d bytes", name, max)
	}
	if err == nil {
		data, err = fs.ReadFile(r.tree, name)
	}
	return data, false, err
}

// remote is what the names of a remote's branches begin with: in full, since a tag or a branch that is called
// "origin/main" counts before the remote's for git.
const remote = "refs/remotes/"

// changeTarget reports whether this is CI on a change request, and what the change is to be merged into.
func (s *session) changeTarget() (rev string, ok bool) {
	get := func(key string) string { v, _ := s.env.Getenv(key); return v }
	const origin = remote + "origin/"
	switch {
	case strings.HasPrefix(get("GITHUB_EVENT_NAME"), "pull_request"): // docs.github.com, variables reference
		return origin + get("GITHUB_BASE_REF"), true
	case get("CI_MERGE_REQUEST_IID") != "": // docs.gitlab.com, predefined variables
		if sha := get("CI_MERGE_REQUEST_DIFF_BASE_SHA"); sha != "" {
			return sha, true
		}
		return origin + get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"), true
	case get("CI_EXTERNAL_PULL_REQUEST_IID") != "": // likewise, of a repository at GitHub
		return origin + get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"), true
	case get("BITBUCKET_PR_ID") != "":
		return origin + get("BITBUCKET_PR_DESTINATION_BRANCH"), true
	case get("SYSTEM_PULLREQUEST_PULLREQUESTID") != "": // Azure Pipelines
		return origin + strings.TrimPrefix(get("SYSTEM_PULLREQUEST_TARGETBRANCH"), "refs/heads/"), true
	}
	return "", false
}

// unambiguous refuses a name that is a remote's branch and also something else, which git would take first: anybody
// who may push a tag could say with it what counts.
func unambiguous(ctx context.Context, dir, rev string) error {
	of := func(rev string) string {
		commit, err := gittree.Git(ctx, dir, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
		if err != nil {
			return ""
		}
		return strings.TrimSpace(commit)
	}
	if there := of(remote + rev); there != "" && there != of(rev) {
		return usagef("write "+remote+rev+" if that is meant", "%s is a remote's branch here, and something else is called the same", rev)
	}
	return nil
}
