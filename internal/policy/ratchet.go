package policy

import (
	"assay/internal/npm"
	"assay/internal/verify"
)

// ratchet compares the package with what the base held of it: nothing may become worse. A package that the base
// did not hold has to have at least the registry's signature.
func (p *Policy) ratchet(s *Subject, add addFunc) {
	if p.Ratchet.Base == "" || s.Outcome.Verdict == verify.Invalid {
		return
	}
	if s.Base == nil {
		set := p.Ratchet.Setting
		set.Level = Error
		add("ratchet", set, "nothing is known of %s, which it is to be compared with", p.Ratchet.Base)
		return
	}
	before := s.Base.Packages[s.ID.Name]
	if len(before) == 0 {
		return
	}
	// With several versions in the base, the one that this takes the place of counts.
	was := &before[0]
	line := npm.ReleaseLine(s.ID.Version)
	for i := range before {
		if b := &before[i]; b.Version == s.ID.Version || was.Version != s.ID.Version && nearer(b.Version, was.Version, s.ID.Version, line) {
			was = b
		}
	}
	switch {
	case was.Verdict == "" || was.Verdict == verify.Unchecked:
		set := p.Ratchet.Setting
		set.Level = min2(set.Level, Warn)
		if rank(s.Outcome.Verdict) < rank(verify.Provenance) {
			add("ratchet", set, "%s at %s could not be checked, so whether this is worse cannot be told", was.Version, s.Base.Revision)
		}
	case s.Outcome.Verdict == verify.Unchecked:
		set := p.Ratchet.Setting
		set.Level = Error
		add("ratchet", set, "%s was %s at %s, and this could not be checked", was.Version, was.Verdict, s.Base.Revision)
	case rank(s.Outcome.Verdict) < rank(was.Verdict):
		add("ratchet", p.Ratchet.Setting, "%s was %s at %s, and this is %s", was.Version, was.Verdict, s.Base.Revision, s.Outcome.Verdict)
	}
}
