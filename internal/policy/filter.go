package policy

import (
	"fmt"
	"regexp"
	"strings"

	"assay/internal/publisher"
)

// A Filter demands a publisher on the command line. Empty fields demand nothing.
type Filter struct {
	Repository    string // "owner/repo" or a URL
	Owner         string // "owner" or a URL
	Workflow      string // path of the calling workflow: ".github/workflows/release.yml"
	Ref           string // "refs/heads/main"
	Event         string
	Issuer        string // exact
	Commit        string
	Signer        string         // the certificate's subject, exact: URI of a workflow at a ref
	SignerPattern *regexp.Regexp // the same, anchored at both ends: see [AnchoredPattern]
	SignerRepo    string
	SignerFlow    string // URI or path of the signing workflow, without its ref
	GitHubHosted  bool   // no self-hosted runner
}

// AnchoredPattern compiles a pattern that has to match the whole identity: unanchored, "owner/repo" would
// also match inside "owner/repo-evil".
func AnchoredPattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > 4096 {
		return nil, fmt.Errorf("pattern is longer than 4096 bytes")
	}
	// By itself first, or "x)|(?:" would close the group that anchors it.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// Empty reports whether the filter demands nothing.
func (f Filter) Empty() bool { return f == Filter{} }

// NamesPublisher reports whether the filter says who has to have built the package, rather than only how.
func (f Filter) NamesPublisher() bool {
	return f.Repository != "" || f.Owner != "" || f.Signer != "" || f.SignerPattern != nil || f.SignerRepo != "" ||
		strings.Count(f.SignerFlow, "/") > 2
}

// Mismatch names the first demand that p does not meet, "" if it meets all.
func (f Filter) Mismatch(p *publisher.Publisher) string {
	signer := p.SignerRepository + separator(p.SignerRepository) + p.SignerWorkflow + "@" + p.SignerRef
	for _, d := range []struct{ what, want, got string }{
		{"issuer", f.Issuer, p.Issuer},
		{"workflow", f.Workflow, p.Workflow},
		{"ref", f.Ref, p.Ref},
		{"event", f.Event, p.Event},
		{"commit", strings.ToLower(f.Commit), p.Commit},
		{"signer identity", f.Signer, signer},
	} {
		if d.want != "" && d.want != d.got {
			return fmt.Sprintf("%s %q was demanded, and it is %q", d.what, d.want, d.got)
		}
	}
	// Names of owners and repositories are the same to GitHub and GitLab in either letter case.
	for _, d := range []struct{ what, want, got string }{
		{"repository", f.Repository, p.Repository},
		{"owner", f.Owner, p.Owner},
		{"signer repository", f.SignerRepo, p.SignerRepository},
	} {
		if d.want != "" && !strings.EqualFold(f.forge(d.want), d.got) {
			return fmt.Sprintf("%s %q was demanded, and it is %q", d.what, f.forge(d.want), d.got)
		}
	}
	if f.SignerFlow != "" && f.SignerFlow != p.SignerWorkflow && !strings.HasPrefix(signer, f.forge(f.SignerFlow)+"@") {
		return fmt.Sprintf("signer workflow %q was demanded, and it is %q", f.SignerFlow, signer)
	}
	if f.SignerPattern != nil && !f.SignerPattern.MatchString(signer) {
		return fmt.Sprintf("a signer identity matching %q was demanded, and it is %q", f.SignerPattern, signer)
	}
	if f.GitHubHosted && p.Runner != "github-hosted" {
		return fmt.Sprintf("a GitHub-hosted runner was demanded, and it is %q", p.Runner)
	}
	return ""
}

// separator stands between repository and file in the identity: GitLab writes two slashes.
func separator(repository string) string {
	if strings.HasPrefix(repository, "https://github.com/") {
		return "/"
	}
	return "//"
}

// forge writes a name out as a URL. A bare "owner/repo" is one of github.com, as it is to gh, unless GitLab's
// issuer is demanded: anybody can register the same name at another forge.
func (f Filter) forge(name string) string {
	name = strings.TrimSuffix(strings.TrimRight(name, "/"), ".git")
	host, rest, _ := strings.Cut(name, "/")
	switch {
	case strings.Contains(name, "://"):
		return name
	case rest != "" && strings.Contains(host, "."):
		return "https://" + name
	case f.Issuer == publisher.GitLabIssuer:
		return "https://gitlab.com/" + name
	}
	return "https://github.com/" + name
}
