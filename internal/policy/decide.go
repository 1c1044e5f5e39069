package policy

import (
	"fmt"

	"assay/internal/verify"
)

// Decide applies the policy, and a filter from the command line, to what the checks found of a package. An
// oddity says what no package manager writes into a lockfile by itself, such as another package under the
// name of one that was asked for: however well that is signed, nobody asked for it. "" for none.
func (p *Policy) Decide(o *verify.Outcome, filter Filter, oddity string) (Decision, []Finding) {
	var findings []Finding
	add := func(rule string, s Setting, format string, args ...any) {
		if s.Level == Allow {
			return
		}
		f := Finding{Rule: rule, Level: s.Level, Message: fmt.Sprintf(format, args...)}
		if s.Line > 0 {
			f.File, f.Line = p.File, s.Line
		}
		findings = append(findings, f)
	}
	switch o.Verdict {
	case verify.Invalid:
		for _, c := range o.Checks {
			if c.Status == verify.Fail {
				add("invalid", p.Default.Invalid, "%s: %s", c.ID, c.Message)
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
		s := p.Default.Unsigned
		if !o.RegistrySigns && s.Line == 0 {
			s.Level = Warn // nothing is missing that this registry is known to give
		}
		if o.RegistrySigns {
			add("unsigned", s, "the registry signs its packages and this one has no signature")
		} else {
			add("unsigned", s, "neither the registry nor a publisher signed this package")
		}
		for _, c := range o.Checks {
			if c.Status == verify.Error {
				add("unchecked", p.Default.Unchecked, "%s: %s", c.ID, c.Message)
			}
		}
	case verify.Signed:
		add("signed", p.Default.Signed, "the registry signed it; who built it is not attested")
	case verify.Provenance:
		if o.RepositoryAbsent && !filter.NamesPublisher() {
			add("identity-unchecked", p.Identity, "no repository is claimed, so the publisher was compared with nothing; name the one that you expect with --repo")
		}
	default:
		add("unchecked", Setting{Level: Error}, "there is no verdict")
	}
	if o.Locked && o.Bound == "none" && (o.Verdict == verify.Provenance || o.Verdict == verify.Signed) {
		add("unbound", p.Unbound, "the lockfile has no integrity for it, so nothing ties the verdict to the bytes that are installed; install it anew, or use --tarballs")
	}
	if oddity != "" {
		add("source", Setting{Level: Deny}, "%s", oddity)
	}
	if !filter.Empty() {
		required := Setting{Level: Deny}
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
	return decision(findings), findings
}

// DecideSource applies the policy to a dependency that comes from no registry: "git", "url", "file",
// "workspace", "link", "bundled", "foreign" or "unknown". An oddity is as in [Policy.Decide].
func (p *Policy) DecideSource(source, oddity string) (Decision, []Finding) {
	var s Setting
	var message string
	switch source {
	case "git":
		s, message = p.Sources.Git, "comes from git, so no registry vouches for it"
	case "url":
		s, message = p.Sources.URL, "is fetched from a URL, so neither a registry nor a publisher vouches for it"
	case "file":
		s, message = p.Sources.File, "comes from a file of the project"
	case "workspace", "link":
		s, message = Setting{Level: Allow}, "is part of the project"
	case "bundled":
		s, message = Setting{Level: Note}, "comes inside another package's tarball and stands or falls with it"
	case "foreign":
		s, message = Setting{Level: Note}, "is no npm package, so nothing is known of it here"
	case "unknown":
		s, message = Setting{Level: Error}, "is there, and where it comes from cannot be told"
	default:
		s, message = Setting{Level: Deny}, fmt.Sprintf("comes from an unknown kind of source %q", source)
	}
	var findings []Finding
	if s.Level != Allow {
		f := Finding{Rule: "source", Level: s.Level, Message: message}
		if s.Line > 0 {
			f.File, f.Line = p.File, s.Line
		}
		findings = append(findings, f)
	}
	if oddity != "" {
		findings = append(findings, Finding{Rule: "source", Level: Deny, Message: oddity})
	}
	return decision(findings), findings
}

// decision is the heaviest of the findings: deny, then error, then warn.
func decision(findings []Finding) Decision {
	d := Decision(Allow)
	for _, f := range findings {
		switch {
		case f.Level == Deny:
			return Decision(Deny)
		case f.Level == Error:
			d = Decision(Error)
		case f.Level == Warn && d == Decision(Allow):
			d = Decision(Warn)
		}
	}
	return d
}
