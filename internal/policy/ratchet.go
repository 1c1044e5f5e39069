package policy

import (
	"strings"

	"assay/internal/npm"
	"assay/internal/verify"
)

// ratchet compares the package with what the base held of it: nothing may become worse. Worse is a lower verdict, and
// where no pin says who is accepted, another publisher. A package whose name the base did not hold takes the place
// of nothing, and one that it held in this very version and bytes has not changed.
func (p *Policy) ratchet(s *Subject, add addFunc) {
	if p.Ratchet.Base == "" || s.Outcome.Verdict == verify.Invalid {
		return
	}
	undecided := p.Ratchet.Setting
	undecided.Level = Error
	if s.Base == nil {
		add("ratchet", undecided, "nothing is known of %s, which it is to be compared with", p.Ratchet.Base)
		return
	}
	was := s.replaced()
	if was == nil {
		return
	}
	now := s.Outcome.Verdict
	switch {
	case was.Verdict == "" && now != verify.Provenance:
		// The registry has taken the old version down: its absence must not stand in the way of what mends it.
		set := p.Ratchet.Setting
		set.Level = min2(set.Level, Warn)
		add("ratchet", set, "%s at %s is not there any more, so whether this is worse cannot be told", was.Version, s.Base.Revision)
	case was.Verdict == verify.Unchecked && now != verify.Provenance:
		add("ratchet", undecided, "%s at %s could not be checked, so whether this is worse cannot be told", was.Version, s.Base.Revision)
	case now == verify.Unchecked && rank(was.Verdict) > 0:
		add("ratchet", undecided, "%s was %s at %s, and this could not be checked", was.Version, was.Verdict, s.Base.Revision)
	case rank(now) < rank(was.Verdict):
		add("ratchet", p.Ratchet.Setting, "%s was %s at %s, and this is %s", was.Version, was.described(), s.Base.Revision, now)
	case now == verify.Provenance && was.Publisher != nil && s.Outcome.Publisher != nil:
		p.ratchetPublisher(s, was, add)
	}
}

// ratchetPublisher speaks of another publisher than the base's, unless pins do.
func (p *Policy) ratchetPublisher(s *Subject, was *BasePackage, add addFunc) {
	if pin, others := s.Lock.Pin(s.ID.Name, s.ID.Version); pin != nil || others {
		return
	}
	accepted, _ := Accept(was.Publisher, npm.ID{Name: s.ID.Name, Version: was.Version})
	var drift []string
	for _, c := range accepted.Compare(s.Outcome.Publisher, s.ID) {
		if c.Drift {
			drift = append(drift, c.String())
		}
	}
	if len(drift) > 0 {
		set := p.Ratchet.Setting
		set.Level = min2(set.Level, Warn)
		add("ratchet", set, "the publisher is not that of %s at %s: %s", was.Version, s.Base.Revision, strings.Join(drift, "; "))
	}
}

// replaced is the version in the base that the subject takes the place of, nil where it takes none's: with several
// there, the nearest.
func (s *Subject) replaced() *BasePackage {
	var was *BasePackage
	line := npm.ReleaseLine(s.ID.Version)
	for i := range s.Base.Packages[s.ID.Name] {
		b := &s.Base.Packages[s.ID.Name][i]
		if b.Version == s.ID.Version {
			if b.Integrity == s.Integrity || b.Integrity == "" {
				return nil
			}
			return b
		}
		if was == nil || nearer(b.Version, was.Version, s.ID.Version, line) {
			was = b
		}
	}
	return was
}

// described is the verdict with who published it.
func (b *BasePackage) described() string {
	if b.Verdict == verify.Provenance && b.Publisher != nil {
		return "provenance by " + strings.TrimPrefix(b.Publisher.Repository, "https://") + " " + b.Publisher.Workflow
	}
	return string(b.Verdict)
}

// Since lists what can bring in or run code in this version and was not in an older one, in words: install scripts,
// binding.gyp, dependencies and commands. Texts of the packages in it are hostile.
func (m *Manifest) Since(old *Manifest) []string { return m.changes(old) }
