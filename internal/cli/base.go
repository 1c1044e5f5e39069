package cli

import (
	"context"
	"path/filepath"
	"strings"

	"assay/internal/gittree"
)

// A revision is a state of the work tree that policy and pins are taken from.
type revision struct{ commit string }

// judge returns the revision whose policy and pins count: the one named by --policy-from, else, in CI on a change
// request, the one where the change began, since a change must not judge itself. It is nil where the files as they
// lie there count.
func (s *session) judge(ctx context.Context, project string) (*revision, error) {
	rev := s.flags.policyFrom
	if rev == "" {
		target, ok := s.changeTarget()
		if !ok {
			return nil, nil
		}
		if _, err := gittree.Git(ctx, project, "rev-parse", "--show-toplevel"); err != nil {
			return nil, nil // no work tree, so nothing of it is part of the change
		}
		base, err := gittree.Git(ctx, project, "merge-base", "HEAD", target)
		if err != nil {
			return nil, usagef("fetch the whole history (actions/checkout: fetch-depth: 0; GitLab: GIT_DEPTH: 0), or name a revision with --policy-from",
				"this is a change request, so policy and pins have to come from where it began, and that cannot be found: %w", err)
		}
		rev = strings.TrimSpace(base)
	}
	if strings.HasPrefix(rev, "-") {
		return nil, usagef("", "--policy-from %q is not a revision", rev)
	}
	commit, err := gittree.Git(ctx, project, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		return nil, usagef("for example --policy-from origin/main", "--policy-from %q is not a revision here", rev)
	}
	return &revision{strings.TrimSpace(commit)}, nil
}

// holds reports whether a file is part of the project's work tree, so that the revision has a say about it.
func (r *revision) holds(ctx context.Context, project, file string) bool {
	tree, err := gittree.Git(ctx, filepath.Dir(file), "rev-parse", "--show-toplevel")
	own, ownErr := gittree.Git(ctx, project, "rev-parse", "--show-toplevel")
	return err == nil && ownErr == nil && own == tree
}

// read returns a file as it is at the revision; absent says that it is not there.
func (r *revision) read(ctx context.Context, file string) (data []byte, absent bool, err error) {
	dir, name := filepath.Dir(file), "./"+filepath.Base(file) // taken from the directory that git runs in
	if listed, err := gittree.Git(ctx, dir, "ls-tree", "--name-only", r.commit, name); err != nil || strings.TrimSpace(listed) == "" {
		return nil, true, err
	}
	text, err := gittree.Git(ctx, dir, "show", r.commit+":"+name)
	return []byte(text), false, err
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
