package cli

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// baseFile is a file as it was at a revision.
type baseFile struct {
	revision string
	data     []byte
	absent   bool
}

// policyBase returns the policy file at the revision that counts: the one named by --policy-from, else, in CI on a
// change request, the one where the change began, since a change must not judge itself. It is nil where the file
// as it lies there counts.
func (s *session) policyBase(ctx context.Context, project, file string) (*baseFile, error) {
	dir := filepath.Dir(file)
	rev := s.flags.policyFrom
	if rev == "" {
		target, ok := s.changeTarget()
		if !ok {
			return nil, nil
		}
		tree, err := git(ctx, dir, "rev-parse", "--show-toplevel")
		if own, ownErr := git(ctx, project, "rev-parse", "--show-toplevel"); err != nil || ownErr != nil || own != tree {
			return nil, nil // the file is not part of the change
		}
		base, err := git(ctx, dir, "merge-base", "HEAD", target)
		if err != nil {
			return nil, usagef("fetch the whole history (actions/checkout: fetch-depth: 0; GitLab: GIT_DEPTH: 0), or name a revision with --policy-from",
				"this is a change request, so the policy has to come from where it began, and that cannot be found: %w", err)
		}
		rev = strings.TrimSpace(base)
	}
	if strings.HasPrefix(rev, "-") {
		return nil, usagef("", "--policy-from %q is not a revision", rev)
	}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		return nil, usagef("for example --policy-from origin/main", "--policy-from %q is not a revision here", rev)
	}
	commit = strings.TrimSpace(commit)
	// A path that begins with ./ is taken from the directory that git runs in.
	name := "./" + filepath.Base(file)
	if listed, err := git(ctx, dir, "ls-tree", "--name-only", commit, name); err != nil || strings.TrimSpace(listed) == "" {
		return &baseFile{revision: commit, absent: true}, err
	}
	data, err := git(ctx, dir, "show", commit+":"+name)
	if err != nil {
		return nil, usagef("", "reading the policy at %s: %w", commit, err)
	}
	return &baseFile{revision: commit, data: []byte(data)}, nil
}

// changeTarget reports whether this is CI on a change request, and what the change is to be merged into.
func (s *session) changeTarget() (rev string, ok bool) {
	get := func(key string) string { v, _ := s.env.Getenv(key); return v }
	switch {
	case strings.HasPrefix(get("GITHUB_EVENT_NAME"), "pull_request"): // docs.github.com, variables reference
		return "origin/" + get("GITHUB_BASE_REF"), true
	case get("CI_MERGE_REQUEST_IID") != "": // docs.gitlab.com, predefined variables
		if sha := get("CI_MERGE_REQUEST_DIFF_BASE_SHA"); sha != "" {
			return sha, true
		}
		return "origin/" + get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"), true
	case get("BITBUCKET_PR_ID") != "":
		return "origin/" + get("BITBUCKET_PR_DESTINATION_BRANCH"), true
	case get("SYSTEM_PULLREQUEST_PULLREQUESTID") != "": // Azure Pipelines
		return "origin/" + strings.TrimPrefix(get("SYSTEM_PULLREQUEST_TARGETBRANCH"), "refs/heads/"), true
	}
	return "", false
}

// git runs git in a directory and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
