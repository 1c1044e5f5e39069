package verify

import (
	"regexp"
	"strings"
)

// checkReleaseRef tells what kind of ref a package was built from. It is informative and never fails: many
// projects release from a branch. What is odd is named, since a stolen workflow usually runs on a ref or
// an event that releases do not use.
func checkReleaseRef(f *facts) outcome {
	p := f.publisher()
	if p == nil {
		return skip(f.noPublisher())
	}
	version := f.in.Package.ID.Version
	switch {
	case p.Event == "pull_request" || p.Event == "pull_request_target" || p.Event == "merge_request_event":
		return passWith(reasonRefPullRequest, "a release", p.Event)
	case p.Event == "issue_comment" || p.Event == "issues" || p.Event == "discussion" || p.Event == "discussion_comment":
		return passWith(reasonRefComment, "a release", p.Event)
	case strings.HasPrefix(p.Ref, "refs/pull/") || strings.HasPrefix(p.Ref, "refs/merge-requests/"):
		return passWith(reasonRefPullRequest, "a tag or a branch", p.Ref)
	}
	if tag, ok := strings.CutPrefix(p.Ref, "refs/tags/"); ok {
		if tagNames(tag, version) {
			return passWith(reasonRefTag, version, tag)
		}
		return passWith(reasonRefOtherTag, "a tag with version "+version, tag)
	}
	if branch, ok := strings.CutPrefix(p.Ref, "refs/heads/"); ok {
		if oddBranch.MatchString(branch) {
			return passWith(reasonRefSnapshot, "a release branch", branch)
		}
		return passWith(reasonRefBranch, "", branch)
	}
	return passWith(reasonRefOdd, "a tag or a branch", p.Ref)
}

func (f *facts) noPublisher() string {
	if len(f.attestations) == 0 {
		return f.noAttestations()
	}
	return reasonNoPublisher
}

// oddBranch are branch names that snapshot and bot builds use, and that thrown-away branches of real
// attacks used ("snapshot-" and a random suffix).
var oddBranch = regexp.MustCompile(`(?i)^(snapshot|dependabot|renovate|revert|patch|tmp|temp|test|wip|pr|pull)[-/]`)

// tagNames reports whether a tag names the version: "1.2.3", "v1.2.3", "pkg@1.2.3", "pkg-v1.2.3".
func tagNames(tag, version string) bool {
	rest, ok := strings.CutSuffix(tag, version)
	if !ok {
		return false
	}
	rest = strings.TrimSuffix(rest, "v")
	return rest == "" || strings.HasSuffix(rest, "@") || strings.HasSuffix(rest, "-") || strings.HasSuffix(rest, "/") || strings.HasSuffix(rest, "_")
}
