package publisher

import (
	"strings"
	"time"
)

// Issuers that npm accepts provenance from, to be compared exactly: a longer URL that begins like one of
// them is another authority (an enterprise's own issuer, for one). Source: npm/documentation,
// generating-provenance-statements.
const (
	GitHubIssuer = "https://token.actions.githubusercontent.com"
	GitLabIssuer = "https://gitlab.com"
)

// A Publisher is who made a package: the workflow, the repository and the run that a verified certificate
// names. Fields that the certificate lacks are "".
type Publisher struct {
	Issuer           string    `json:"issuer"`            // "https://token.actions.githubusercontent.com"
	Repository       string    `json:"repository"`        // "https://github.com/sigstore/sigstore-js"
	RepositoryID     string    `json:"repository_id"`     // "495574555"; survives a rename
	Owner            string    `json:"owner"`             // "https://github.com/sigstore"
	OwnerID          string    `json:"owner_id"`          // "71096353"
	Workflow         string    `json:"workflow"`          // ".github/workflows/release.yml", of the caller
	WorkflowDigest   string    `json:"workflow_digest"`   // commit of the caller's workflow file
	Ref              string    `json:"ref"`               // "refs/heads/main"
	Commit           string    `json:"commit"`            // of the source repository
	Event            string    `json:"event"`             // "push"
	SignerRepository string    `json:"signer_repository"` // of the called (reusable) workflow, else as Repository
	SignerWorkflow   string    `json:"signer_workflow"`
	SignerRef        string    `json:"signer_ref"`
	SignerDigest     string    `json:"signer_digest"`
	Runner           string    `json:"runner"`      // "github-hosted", "gitlab-hosted" or "self-hosted"
	Visibility       string    `json:"visibility"`  // of the repository when it signed: "public"
	Environment      string    `json:"environment"` // deployment environment, usually ""
	Run              string    `json:"run"`         // URL of the run
	SignedAt         time.Time `json:"signed_at"`   // trusted time of signing, UTC
	LogIndex         int64     `json:"log_index"`   // in the transparency log
}

// New takes the publisher out of c, a certificate that verified at signedAt and whose log entry has the
// given index. It fills in what the certificate says and leaves the rest empty; whether the parts fit one
// another is decided by the workflow-identity check.
func New(c *Certificate, signedAt time.Time, logIndex int64) *Publisher {
	p := &Publisher{
		Issuer:         c.Issuer(),
		Repository:     c.Source(ExtRepository),
		RepositoryID:   c.Get(ExtRepositoryID),
		Owner:          c.Source(ExtOwner),
		OwnerID:        c.Get(ExtOwnerID),
		WorkflowDigest: c.Get(ExtConfigDigest),
		Ref:            c.Get(ExtRef),
		Commit:         c.Get(ExtCommit),
		Event:          c.Get(ExtTrigger),
		SignerDigest:   c.Get(ExtSignerDigest),
		Runner:         c.Get(ExtRunner),
		Visibility:     c.Get(ExtVisibility),
		Environment:    c.Get(ExtEnvironment),
		Run:            c.Source(ExtRun),
		SignedAt:       signedAt.UTC(),
		LogIndex:       logIndex,
	}
	if signer, ok := SplitWorkflow(c.SubjectURI); ok {
		p.SignerRepository, p.SignerWorkflow, p.SignerRef = signer.Repository, signer.Path, signer.Ref
	}
	if config, ok := SplitWorkflow(c.Get(ExtConfigURI)); ok {
		p.Workflow = config.Path
	}
	if !c.Has(ExtRepository) && c.Issuer() == GitHubIssuer {
		// Certificates before the spring of 2023 have the deprecated extensions only.
		if repo := c.Get(ExtGitHubRepo); repo != "" {
			p.Repository = "https://github.com/" + repo
			if owner, _, ok := strings.Cut(repo, "/"); ok {
				p.Owner = "https://github.com/" + owner
			}
		}
		p.Commit, p.Ref, p.Event = c.Get(ExtGitHubSHA), c.Get(ExtGitHubRef), c.Get(ExtGitHubTrigger)
		if strings.EqualFold(p.SignerRepository, p.Repository) {
			// The name is that of the called workflow; only within the same repository may it stand for the caller's.
			p.Workflow = p.SignerWorkflow
		}
	}
	return p
}

// A WorkflowRef is the URI of a workflow file at a ref, taken apart.
type WorkflowRef struct {
	Repository string // "https://github.com/o/r", "https://gitlab.com/g/s/p"
	Path       string // ".github/workflows/release.yml", ".gitlab-ci.yml"
	Ref        string // "refs/heads/main"
}

// SplitWorkflow takes apart "https://github.com/o/r/.github/workflows/x.yml@refs/heads/main" (GitHub) or
// "https://gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main" (GitLab, with its double slash). The ref is a full
// one or, for a called workflow, a commit. It reports false for anything else, and for a URI that could be
// taken apart in two ways: a file called "x.yml@refs/heads/y.yml" must not pass for "x.yml".
func SplitWorkflow(uri string) (WorkflowRef, bool) {
	rest, ok := strings.CutPrefix(uri, "https://")
	if !ok {
		return WorkflowRef{}, false
	}
	located, ref, ok := strings.Cut(rest, "@")
	if !ok || !isRef(ref) {
		return WorkflowRef{}, false
	}
	for i, c := range ref {
		if c == '@' && isRef(ref[i+1:]) {
			return WorkflowRef{}, false
		}
	}
	if repo, path, ok := strings.Cut(located, "//"); ok {
		if strings.Count(repo, "/") < 2 || path == "" || oddSegments(repo) || oddSegments(path) {
			return WorkflowRef{}, false
		}
		return WorkflowRef{"https://" + repo, path, ref}, true
	}
	parts := strings.SplitN(located, "/", 4)
	if len(parts) != 4 || oddSegments(located) {
		return WorkflowRef{}, false
	}
	return WorkflowRef{"https://" + strings.Join(parts[:3], "/"), parts[3], ref}, true
}

// isRef reports whether s is a full ref or a commit.
func isRef(s string) bool {
	if name, ok := strings.CutPrefix(s, "refs/"); ok {
		return name != ""
	}
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// oddSegments reports whether a path holds a segment that some reader would resolve away.
func oddSegments(path string) bool {
	for s := range strings.SplitSeq(path, "/") {
		if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "%\\?#") {
			return true
		}
	}
	return false
}

// Under reports whether uri lies under base: it is base followed by a separator, not base-evil. Letter case
// is not compared, as GitHub and GitLab do not.
func Under(uri, base string) bool {
	if base == "" || len(uri) <= len(base) || !strings.EqualFold(uri[:len(base)], base) {
		return false
	}
	return uri[len(base)] == '/'
}

// SameSource reports whether two publishers are one: issuer, repository and owner (by number where both
// have one, else by name), workflow and called workflow with their refs, commit, event, runner and environment.
// Times, runs and log entries differ between two attestations of one job's package and are not compared.
func (p *Publisher) SameSource(o *Publisher) bool {
	return p.Issuer == o.Issuer &&
		sameID(p.RepositoryID, o.RepositoryID, p.Repository, o.Repository) &&
		sameID(p.OwnerID, o.OwnerID, p.Owner, o.Owner) &&
		p.Workflow == o.Workflow && p.SignerRepository == o.SignerRepository && p.SignerWorkflow == o.SignerWorkflow &&
		p.SignerRef == o.SignerRef && p.Ref == o.Ref && p.Commit == o.Commit &&
		p.Event == o.Event && p.Runner == o.Runner && p.Environment == o.Environment
}

func sameID(a, b, nameA, nameB string) bool {
	if a != "" && b != "" {
		return a == b
	}
	return strings.EqualFold(nameA, nameB)
}
