package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// A PublisherRule says who may publish packages. Of several rules for a package any may be met; what a rule
// leaves out may be anything.
type PublisherRule struct {
	Packages       []Pattern
	Issuer         string
	Repository     string // URL
	RepositoryID   string
	Owner          string // URL
	OwnerID        string
	Workflow       string // path of the calling workflow
	SignerWorkflow string // URI of the called workflow, without its ref
	Refs           []RefPattern
	Events         []string
	Runner         string
	Environment    string
	Setting        // its level is Deny
}

// Mismatch names the first demand that p, who published id, does not meet; "" if it meets all.
func (r *PublisherRule) Mismatch(p *publisher.Publisher, id npm.ID) string {
	signer := p.SignerRepository + separator(p.SignerRepository) + p.SignerWorkflow
	for _, d := range []struct {
		what, want, got string
		fold            bool // names of owners and repositories are the same to the forges in either letter case
	}{
		{"issuer", r.Issuer, p.Issuer, false},
		{"repository id", r.RepositoryID, p.RepositoryID, false},
		{"owner id", r.OwnerID, p.OwnerID, false},
		{"repository", r.Repository, p.Repository, true},
		{"owner", r.Owner, p.Owner, true},
		{"workflow", r.Workflow, p.Workflow, false},
		{"signer workflow", r.SignerWorkflow, signer, false},
		{"runner", r.Runner, p.Runner, false},
		{"environment", r.Environment, p.Environment, false},
	} {
		// With equal ids another name is a rename and no other publisher.
		if d.fold && (d.what == "repository" && r.RepositoryID != "" || d.what == "owner" && r.OwnerID != "") {
			continue
		}
		if d.want != "" && d.want != d.got && !(d.fold && strings.EqualFold(d.want, d.got)) {
			return fmt.Sprintf("%s %q is demanded, and it is %q", d.what, d.want, cmp.Or(d.got, "not told"))
		}
	}
	if len(r.Refs) > 0 && !slices.ContainsFunc(r.Refs, func(ref RefPattern) bool { return ref.Match(p.Ref, id) }) {
		return fmt.Sprintf("ref %s is demanded, and it is %q", joinRefs(r.Refs), p.Ref)
	}
	if len(r.Events) > 0 && !slices.Contains(r.Events, p.Event) {
		return fmt.Sprintf("event %s is demanded, and it is %q", strings.Join(r.Events, " or "), p.Event)
	}
	return ""
}

// publishers holds the package to the rules about who may publish it.
func (p *Policy) publishers(s *Subject, add addFunc) {
	var first *PublisherRule
	mismatch := ""
	for i := range p.Publishers {
		r := &p.Publishers[i]
		if !anyMatches(r.Packages, s.ID.Name, s.ID.Version) {
			continue
		}
		why := ""
		switch {
		case s.Outcome.Publisher != nil:
			why = r.Mismatch(s.Outcome.Publisher, s.ID)
		case s.Outcome.Verdict == verify.Unchecked:
			set := r.Setting
			set.Level = Error
			add("publisher", set, "a publisher is demanded, and none could be verified")
			return
		default:
			why = "a publisher is demanded, and there is no verified provenance"
		}
		if why == "" {
			return
		}
		// Of several rules that are not met the first in the file speaks; one that is enforced before one that is not.
		if first == nil || first.Mode == Observe && r.Mode != Observe {
			first, mismatch = r, why
		}
	}
	if first != nil {
		add("publisher", first.Setting, "%s", mismatch)
	}
}

// A RefPattern names git refs: "refs/heads/main", "refs/heads/release/*", "refs/tags/v{version}",
// "refs/tags/{name}@{version}". A star stands for any characters but a slash; {version} and {name} are the
// package's own, and {basename} is its name without the scope.
type RefPattern string

// ParseRef reads a pattern of refs.
func ParseRef(s string) (RefPattern, error) {
	if !strings.HasPrefix(s, "refs/") || len(s) > 500 {
		return "", fmt.Errorf("ref %q: write it in full, such as refs/heads/main or refs/tags/v{version}", s)
	}
	if rest := placeholders.Replace(s); strings.ContainsAny(rest, "{} \t") {
		return "", fmt.Errorf("ref %q: known in braces are version, name and basename", s)
	}
	if strings.Count(s, "*") > maxStars {
		return "", fmt.Errorf("ref %q has more than %d stars", s, maxStars)
	}
	return RefPattern(s), nil
}

var placeholders = strings.NewReplacer("{version}", "", "{name}", "", "{basename}", "")

// Match reports whether a ref is one of those that the pattern names for a package.
func (r RefPattern) Match(ref string, id npm.ID) bool {
	pattern := string(r)
	if strings.Contains(pattern, "{") {
		base := id.Name[strings.IndexByte(id.Name, '/')+1:]
		pattern = strings.NewReplacer("{version}", id.Version, "{name}", id.Name, "{basename}", base).Replace(pattern)
	}
	return glob(pattern, ref)
}

func joinRefs(refs []RefPattern) string {
	texts := make([]string, len(refs))
	for i, r := range refs {
		texts[i] = string(r)
	}
	return strings.Join(texts, " or ")
}
