package policy

import (
	"fmt"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

// BuiltIn lists the IDs of the built-in rules.
func BuiltIn() []string {
	return []string{
		"invalid", "unchecked", "unsigned", "signed", "identity-unchecked", "self-hosted", "critical", "publisher", "unpinned", "drift",
		"downgrade-line", "downgrade-package", "min-age", "manifest-change", "burst", "source", "unbound", "expired-key", "ratchet",
		"policy-changed", "waiver-expired", "history",
	}
}

// addFunc adds a finding of a rule at the level of a setting.
type addFunc func(rule string, s Setting, format string, args ...any)

// Decide applies the policy, and a filter from the command line, to a package. An oddity in the subject says
// what no package manager writes into a lockfile by itself, such as another package under the name of one that
// was asked for: however well that is signed, nobody asked for it.
//
// All rules are asked, in whatever order they stand, and the heaviest finding decides.
func (p *Policy) Decide(s *Subject, filter Filter) (Decision, []Finding) {
	var findings []Finding
	add := p.adder(&findings)
	p.verdict(s, filter, add)
	p.critical(s, add)
	p.publishers(s, add)
	p.pins(s, add)
	if !s.held() {
		p.history(s, add)
	}
	p.ratchet(s, add)
	p.rules(s, add)
	findings = p.waive(s, findings)
	// What the command line demands, and what no package manager writes, no file can waive.
	if s.Oddity != "" {
		add("source", Setting{Level: Deny, Mode: Enforce}, "%s", s.Oddity)
	}
	p.filter(s.Outcome, filter, add)
	return decision(findings), findings
}

// adder returns a function that adds to findings, in the mode that is in force.
func (p *Policy) adder(findings *[]Finding) addFunc {
	return func(rule string, s Setting, format string, args ...any) {
		if s.Level == Allow || s.Level == "" {
			return
		}
		f := Finding{Rule: rule, Level: s.Level, Message: fmt.Sprintf(format, args...), File: s.File, Line: s.Line}
		if f.Level == Deny && rule != "invalid" && p.observes(s) {
			f.Level = Warn
			f.Message += " (observed: it would be denied)"
		}
		*findings = append(*findings, f)
	}
}

// observes reports whether a setting only observes. What the command line or an edited lockfile says has no
// place in a file and is no rule of the policy's.
func (p *Policy) observes(s Setting) bool {
	return s.Mode == Observe || s.Mode == "" && p.Mode == Observe
}

// heavier is the setting that weighs more in the mode that is in force, the first if they weigh the same.
func (p *Policy) heavier(a, b Setting) Setting {
	inForce := func(s Setting) int {
		if s.Level == Deny && p.observes(s) {
			return weight[Warn]
		}
		return weight[s.Level]
	}
	if inForce(b) > inForce(a) {
		return b
	}
	return a
}

// verdict speaks of what the checks found, and of what they left open.
func (p *Policy) verdict(s *Subject, filter Filter, add addFunc) {
	o := s.Outcome
	switch o.Verdict {
	case verify.Invalid:
		for _, c := range o.Checks {
			if c.Status == verify.Fail {
				add("invalid", p.Default.Invalid, "%s: %s", c.ID, c.Message)
				if c.Reason == "resolved-elsewhere" {
					add("source", p.Sources.OtherHost, "the lockfile takes it from somewhere else than its registry")
				}
			}
		}
	case verify.Unchecked:
		told := false
		for _, c := range o.Checks {
			if c.Status == verify.Error {
				add("unchecked", p.Default.Unchecked, "%s: %s", c.ID, c.Message)
				told = true
			}
		}
		if !told {
			add("unchecked", p.Default.Unchecked, "not every check that provenance needs could be carried out")
		}
	case verify.Unsigned:
		set := p.Default.Unsigned
		if !o.RegistrySigns && set.Line == 0 {
			set.Level = Warn // nothing is missing that this registry is known to give
		}
		set = p.heavier(set, p.Default.Signed) // whoever takes the signature away must not be better off
		if o.RegistrySigns {
			add("unsigned", set, "the registry signs its packages and this one has no signature")
		} else {
			add("unsigned", set, "neither the registry nor a publisher signed this package")
		}
		for _, c := range o.Checks {
			if c.Status == verify.Error {
				add("unchecked", p.Default.Unchecked, "%s: %s", c.ID, c.Message)
			}
		}
	case verify.Signed:
		add("signed", p.Default.Signed, "the registry signed it; who built it is not attested")
	case verify.Provenance:
		if o.RepositoryAbsent && !filter.NamesPublisher() && !p.namesPublisher(s) {
			add("identity-unchecked", p.Identity.NoRepository, "no repository is claimed, so the publisher was compared with nothing; name the one that you expect with --repo, or pin it")
		}
		if o.Publisher != nil && o.Publisher.Runner == "self-hosted" {
			add("self-hosted", p.Identity.SelfHosted, "it was built on a machine of the publisher's own, whose keepers can change what is built")
		}
	default:
		add("unchecked", Setting{Level: Error}, "there is no verdict")
	}
	if o.Locked && o.Bound == "none" && (o.Verdict == verify.Provenance || o.Verdict == verify.Signed) {
		set := p.Unbound
		for i := range p.Critical {
			if c := &p.Critical[i]; anyMatches(c.Packages, s.ID.Name, s.ID.Version) {
				set = p.heavier(set, c.Setting)
			}
		}
		add("unbound", set, "the lockfile has no integrity for it, so nothing ties the verdict to the bytes that are installed; install it anew, or use --tarballs")
	}
	if o.TimeUnknown {
		add("expired-key", p.ExpiredKey, "the key that signed it has expired since, and when it signed is not known; ask with --strict-time")
	}
}

// namesPublisher reports whether the policy or a pin says who has to have built the package, so that it was
// compared with something.
func (p *Policy) namesPublisher(s *Subject) bool {
	for i := range p.Publishers {
		if anyMatches(p.Publishers[i].Packages, s.ID.Name, s.ID.Version) {
			return true
		}
	}
	pin, _ := s.Lock.Pin(s.ID.Name, s.ID.Version)
	return pin != nil && len(pin.Publishers) > 0
}

// critical holds packages to the verdict that is demanded of them.
func (p *Policy) critical(s *Subject, add addFunc) {
	for i := range p.Critical {
		c := &p.Critical[i]
		if !anyMatches(c.Packages, s.ID.Name, s.ID.Version) {
			continue
		}
		v := s.Outcome.Verdict
		switch {
		case v == verify.Provenance, v == verify.Signed && c.Require == verify.Signed:
		case v == verify.Unchecked:
			set := c.Setting
			set.Level = Error
			add("critical", set, "%s is required, and could not be checked", c.Require)
		default:
			add("critical", c.Setting, "%s is required, and it is %s", c.Require, v)
		}
	}
}

// filter holds the publisher to what the command line demands.
func (p *Policy) filter(o *verify.Outcome, filter Filter, add addFunc) {
	if filter.Empty() {
		return
	}
	required := Setting{Level: Deny, Mode: Enforce}
	switch {
	case o.Verdict == verify.Provenance && o.Publisher != nil:
		if mismatch := filter.Mismatch(o.Publisher); mismatch != "" {
			add("publisher", required, "%s", mismatch)
		}
	case o.Verdict == verify.Unchecked:
		add("publisher", Setting{Level: Error}, "a publisher was demanded, and none could be verified")
	default:
		add("publisher", required, "a publisher was demanded, and there is no verified provenance")
	}
}

// published is when the subject's version was published, and whether a signature vouches for that: the logged
// time of the registry's publish attestation, else what the registry says. It is the zero time where nothing is known.
func (s *Subject) published() (at time.Time, verified bool) {
	v := s.own()
	switch {
	case !s.Outcome.Published.IsZero():
		return s.Outcome.Published, true
	case v != nil && !v.Logged.IsZero():
		return v.Logged, true
	case v != nil && !v.Time.IsZero():
		return v.Time, false
	}
	return time.Time{}, false
}

// own is the subject's row in its history, nil if there is none.
func (s *Subject) own() *Version {
	if s.History == nil {
		return nil
	}
	for i := range s.History.Versions {
		if v := &s.History.Versions[i]; v.Version == s.ID.Version {
			return v
		}
	}
	return nil
}

// A Dependency is one that comes from no registry.
type Dependency struct {
	ID     npm.ID // the version may be "", where nothing tells it
	Source string // "git", "url", "file", "workspace", "link", "bundled", "foreign" or "unknown"
	Oddity string // as in [Policy.Decide]
	Now    time.Time
}

// DecideSource applies the policy to a dependency that comes from no registry.
func (p *Policy) DecideSource(d Dependency) (Decision, []Finding) {
	var set Setting
	var message string
	switch d.Source {
	case "git":
		set, message = p.Sources.Git, "comes from git, so no registry vouches for it"
	case "url":
		set, message = p.Sources.URL, "is fetched from a URL, so neither a registry nor a publisher vouches for it"
	case "file":
		set, message = p.Sources.File, "comes from a file of the project"
	case "workspace", "link":
		set, message = Setting{Level: Allow}, "is part of the project"
	case "bundled":
		set, message = Setting{Level: Note}, "comes inside another package's tarball and stands or falls with it"
	case "foreign":
		set, message = Setting{Level: Note}, "is no npm package, so nothing is known of it here"
	case "unknown":
		set, message = Setting{Level: Error}, "is there, and where it comes from cannot be told"
	default:
		set, message = Setting{Level: Deny, Mode: Enforce}, fmt.Sprintf("comes from an unknown kind of source %q", d.Source)
	}
	var findings []Finding
	add := p.adder(&findings)
	add("source", set, "%s", message)
	findings = p.waive(&Subject{ID: d.ID, Now: d.Now}, findings)
	if d.Oddity != "" {
		add("source", Setting{Level: Deny, Mode: Enforce}, "%s", d.Oddity)
	}
	return decision(findings), findings
}

// decision is the heaviest of the findings.
func decision(findings []Finding) Decision {
	d := Decision(Allow)
	for _, f := range findings {
		if weight[f.Level] > weight[Level(d)] && f.Level != Note {
			d = Decision(f.Level)
		}
	}
	return d
}

var weight = map[Level]int{Allow: 0, Note: 1, Warn: 2, Error: 3, Deny: 4}
