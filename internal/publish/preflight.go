package publish

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"assay/internal/npm"
)

// CheckRepository compares the repository that package.json names with the one that the job runs for. npm's registry
// makes the same comparison when a provenance is uploaded, and answers 422 where they differ: when the public log
// entry has been made (npm documentation, "Generating provenance statements").
func (m *Manifest) CheckRepository(ci *CI) error {
	running, err := npm.ParseRepositoryURI(ci.RepositoryURL())
	if err != nil {
		return setup("ci-environment", "", "the repository of this job, %q: %v", ci.RepositoryURL(), err)
	}
	snippet := fmt.Sprintf("in package.json:\n  \"repository\": {\n    \"type\": \"git\",\n    \"url\": \"git+%s.git\"\n  }", running)
	if m.repositoryErr != nil {
		return refuse("repository-unreadable", snippet, "package.json: %v", m.repositoryErr)
	}
	if m.Repository == (npm.Repository{}) {
		return refuse("repository-absent", snippet, "package.json names no repository, and the registry compares it with the workflow's, %s", running)
	}
	equal, onlyCase := m.Repository.Match(running)
	switch {
	case equal:
		return nil
	case onlyCase:
		return refuse("repository-case", snippet, "package.json names the repository %s, and this job runs for %s: the registry tells upper from lower case", m.Repository, running)
	}
	return refuse("repository-mismatch", snippet+"\nA fork publishes under a name of its own, or not at all.",
		"package.json names the repository %s, and this job runs for %s: the registry would refuse the package", m.Repository, running)
}

// CheckPublishable refuses what is marked private.
func (m *Manifest) CheckPublishable() error {
	if m.Private {
		return refuse("private", "remove \"private\" from package.json if it is meant to be published", "%s is marked private in package.json", m.Name)
	}
	return nil
}

// DefaultTagPatterns are what a git tag may look like for a version.
var DefaultTagPatterns = []string{"v{version}", "{version}", "{name}@{version}"}

// CheckTag compares the git tag that the job runs for with the version. A job that runs for no tag is no concern of
// its. Patterns may hold {version}, {name} and {unscoped}; everything else stands for itself.
func (m *Manifest) CheckTag(ci *CI, patterns []string) error {
	tag := ci.Tag()
	if tag == "" {
		return nil
	}
	if len(patterns) == 0 {
		patterns = DefaultTagPatterns
	}
	unscoped := m.Name[strings.LastIndexByte(m.Name, '/')+1:]
	var expected []string
	for _, p := range patterns {
		want := strings.NewReplacer("{version}", m.Version, "{name}", m.Name, "{unscoped}", unscoped).Replace(p)
		if want == tag {
			return nil
		}
		expected = append(expected, want)
	}
	return refuse("tag-mismatch", "set the version in package.json, tag again, or say with --tag-pattern what tags look like here, such as --tag-pattern '{unscoped}-v{version}'",
		"this job runs for the git tag %q, and version %s goes with %s", tag, m.Version, strings.Join(expected, " or "))
}

// distTag is what a distribution tag may look like: npm refuses what could be taken for a version or range.
var distTag = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)

// looksLikeRange are tags that node-semver reads as a range: v1, x, and the like.
var looksLikeRange = regexp.MustCompile(`^[vV]?(\d|[xX*])([.]|\d|[xX*]|$)`)

// CheckDistTag says what is wrong with a distribution tag; explicit says that somebody chose it. A prerelease without
// one would become what everybody installs (npm/cli lib/commands/publish.js).
func (m *Manifest) CheckDistTag(tag string, explicit bool) error {
	if !distTag.MatchString(tag) || looksLikeRange.MatchString(tag) {
		return setup("dist-tag", "", "%q cannot be a distribution tag: it could be taken for a version, or has characters that tags do not have", tag)
	}
	if npm.IsPrerelease(m.Version) && !explicit {
		return refuse("prerelease-tag", "for example --tag next", "%s is a prerelease: without --tag it would be what everybody installs", m.Version)
	}
	return nil
}

// CheckAccess says what is wrong with the access asked for: "" (the registry decides), "public" or "restricted".
func (m *Manifest) CheckAccess(access string) error {
	if !slices.Contains([]string{"", "public", "restricted", "private"}, access) {
		return setup("access", "", "access is public or restricted, and %q was given", access)
	}
	if (access == "restricted" || access == "private") && npm.Scope(m.Name) == "" {
		return refuse("access-unscoped", "", "%s has no scope, and only scoped packages can be restricted", m.Name)
	}
	if access == "restricted" || access == "private" {
		return refuse("access-restricted", "set access to public, or publish without provenance", "provenance is for public packages, and access is %s", access)
	}
	return nil
}
