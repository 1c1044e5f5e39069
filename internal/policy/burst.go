package policy

import (
	"fmt"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

// What counts as sudden. The figures are those of real thefts of accounts: two versions of one package six minutes
// apart, several release lines within half an hour, dozens of packages within a few minutes.
const (
	burstWindow   = time.Hour
	burstVersions = 3
	burstLines    = 2
	burstPackages = 5
	dormantAfter  = 365 * 24 * time.Hour
)

// A Tree is what the packages of one run say together.
type Tree struct {
	releases map[string][]release // by who published
}

// A release is one version that is new to the project.
type release struct {
	name string
	at   time.Time
}

// NewTree puts the subjects of one run together. Those that the project held before count for nothing.
func NewTree(subjects []*Subject) *Tree {
	t := &Tree{releases: make(map[string][]release)}
	for _, s := range subjects {
		if s.History == nil || s.held() {
			continue
		}
		own := s.own()
		if own == nil || own.at().IsZero() {
			continue
		}
		if who := s.publishedBy(own); who != "" {
			t.releases[who] = append(t.releases[who], release{s.ID.Name, own.at()})
		}
	}
	return t
}

// publishedBy names who published a version: the verified publisher's owner, else the account that the registry
// names; "" if neither is known.
func (s *Subject) publishedBy(own *Version) string {
	if p := s.Outcome.Publisher; p != nil {
		return "publisher " + p.Issuer + " " + p.OwnerID + " " + strings.ToLower(p.Owner)
	}
	if own.User != "" {
		return "account " + own.User
	}
	return ""
}

// together counts the packages that somebody published within the window around a time.
func (t *Tree) together(who string, at time.Time) int {
	if t == nil {
		return 0
	}
	names := make(map[string]bool)
	for _, r := range t.releases[who] {
		if d := r.at.Sub(at).Abs(); d <= burstWindow {
			names[r.name] = true
		}
	}
	return len(names)
}

// burst speaks of versions that came suddenly: several of the package at once, after a long silence by another
// account, or together with many other packages.
func (p *Policy) burst(s *Subject, add addFunc) {
	if p.Burst.Level == Allow || s.held() {
		return
	}
	own := s.own()
	if own == nil || own.at().IsZero() {
		return
	}
	var signs []string
	versions, lines := 0, make(map[string]bool)
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if v.at().IsZero() || v.at().Sub(own.at()).Abs() > burstWindow {
			continue
		}
		versions++
		if !npm.IsPrerelease(v.Version) {
			lines[npm.ReleaseLine(v.Version)] = true
		}
	}
	previous := s.previous()
	switch {
	case len(lines) >= burstLines:
		signs = append(signs, fmt.Sprintf("%d release lines within an hour", len(lines)))
	case versions >= burstVersions, versions == 2 && s.quick(own):
		signs = append(signs, fmt.Sprintf("%d versions within an hour", versions))
	}
	if previous != nil && !previous.at().IsZero() && own.at().Sub(previous.at()) > dormantAfter && own.User != previous.User && own.User != "" && previous.User != "" &&
		s.Outcome.Verdict != verify.Provenance {
		signs = append(signs, fmt.Sprintf("the first version in %s, by another account (%s, before %s)", short(own.at().Sub(previous.at())), cut(own.User), cut(previous.User)))
	}
	if who := s.publishedBy(own); who != "" && !s.usual(previous) {
		if n := s.Tree.together(who, own.at()); n >= burstPackages {
			signs = append(signs, fmt.Sprintf("%d packages of this project by the same publisher within an hour", n))
		}
	}
	if len(signs) > 0 {
		add("burst", p.Burst, "%s", strings.Join(signs, "; "))
	}
}

// quick reports whether another version of the release line came within a quarter of an hour.
func (s *Subject) quick(own *Version) bool {
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if v != own && npm.ReleaseLine(v.Version) == npm.ReleaseLine(own.Version) && v.at().Sub(own.at()).Abs() <= burstWindow/4 && !v.at().IsZero() {
			return true
		}
	}
	return false
}

// usual reports whether a verified publisher made this version as it made the one before: many packages of one
// repository are released together.
func (s *Subject) usual(previous *Version) bool {
	return s.Outcome.Publisher != nil && previous != nil && previous.Publisher != nil && s.Outcome.Publisher.Issuer == previous.Publisher.Issuer &&
		s.Outcome.Publisher.RepositoryID != "" && s.Outcome.Publisher.RepositoryID == previous.Publisher.RepositoryID &&
		s.Outcome.Publisher.Workflow == previous.Publisher.Workflow
}
