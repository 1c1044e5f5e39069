// Package policy turns what holds into what is accepted: it applies the user's rules, pins and waivers to a
// package and answers with a [Decision] and the findings behind it. It guarantees that a decision names the
// rule, and the file and line where the user wrote one; that worse evidence never makes a decision weaker;
// and that what is unknown is never allowed for that.
package policy

import (
	"time"

	"assay/internal/verify"
)

// A Level is how much a finding weighs.
type Level string

// The levels, from the lightest to the heaviest.
const (
	Allow Level = "allow"
	Note  Level = "note"
	Warn  Level = "warn"
	Error Level = "error" // could not decide
	Deny  Level = "deny"
)

// A Decision is what becomes of a package: allow, warn, deny or error. It is the heaviest level among its
// findings, deny outweighing error.
type Decision string

// A Finding is one rule that spoke.
type Finding struct {
	Rule    string `json:"rule"`    // stable: "invalid", "unsigned", "publisher", …, or the id of a rule of the user's
	Level   Level  `json:"level"`   // note, warn, deny or error
	Message string `json:"message"` // one sentence; may quote hostile text
	File    string `json:"file"`    // where the rule was written, "" for a built-in default
	Line    int    `json:"line"`    // 1-based; 0 if File is ""
}

// A Place is where a user wrote something.
type Place struct {
	File string // "" for a built-in default
	Line int    // 1-based; 0 for a built-in default
}

// A Setting is a level with the place that set it.
type Setting struct {
	Level Level
	Place
	Mode Mode // "": the policy's
}

// A Mode says whether rules block. In [Observe], what would be denied is told as a warning, but for what is
// invalid: evidence that contradicts itself is always denied.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce"
	Observe Mode = "observe"
)

// A Registry says what the user knows of one registry.
type Registry struct {
	Keys      string           // "none", "tuf", or a file
	Signs     verify.Signs     // always or partly
	Upstream  string           // base URL whose tarballs count as this registry's
	Publisher *verify.Expected // who publishes there, needed with keys: none
	Place
}

// A Policy is a policy file read in. The zero value is not useful: see [Default] and [Parse].
type Policy struct {
	File           string // "" for the built-in defaults
	Mode           Mode   // "": enforce
	Default        Defaults
	Critical       []Critical
	Publishers     []PublisherRule
	Identity       Identity
	Drift          Setting // the publisher is not the pinned one
	Downgrade      Downgrade
	MinAge         MinAge
	ManifestChange Setting // what runs or comes along on install, and did not in the last accepted version
	Burst          Setting
	Sources        Sources
	Unbound        Setting // nothing ties a locked package's verdict to bytes
	ExpiredKey     Setting // signed by a key that has expired since, at a time nobody knows
	Issuers        []string
	Registries     map[string]Registry // by base URL without trailing slash
	Rules          []Rule
	Waivers        []Waiver
	Ratchet        Ratchet
}

// Defaults are the levels of the verdicts.
type Defaults struct{ Invalid, Unchecked, Unsigned, Signed Setting }

// Sources are the levels of dependencies that come from no registry, and of those that a lockfile takes from
// another host than the registry's.
type Sources struct{ Git, URL, File, OtherHost Setting }

// Identity holds the levels of what is odd about a publisher by itself.
type Identity struct {
	NoRepository Setting // the package claims no repository, so its publisher was compared with nothing
	SelfHosted   Setting // it was built on a machine of the publisher's own
	Unpinned     Setting // there is an assay.lock and it says nothing of the package
}

// Critical demands a verdict of packages, whatever the defaults say.
type Critical struct {
	Packages []Pattern
	Require  verify.Verdict // provenance or signed
	Setting                 // its level is Deny
}

// Downgrade says how a loss of provenance weighs.
type Downgrade struct {
	Line       Setting       // within the release line
	Package    Setting       // in another line than this one, whose own never had it
	QuietAfter time.Duration // a version that has been out for as long is not told of; 0: never quiet
	Exclude    []Pattern     // packages of which a loss is accepted
}

// MinAge says how old a version has to be that is new to the project. A zero duration demands nothing.
type MinAge struct {
	Attested, Unattested time.Duration
	AdvisoryFix          bool      // what mends a known vulnerability of the version before may pass at once
	Except               []Pattern // packages that may pass at once
	Setting                        // its level is Deny
}

// Ratchet compares with a base: nothing may become worse.
type Ratchet struct {
	Base    string // git revision; "": no ratchet
	Setting        // its level is Deny
}

// Default returns the rules that hold without a policy: what fails is denied, what could not be told is an
// error, a missing signature is denied where the registry is known to sign, and a dependency fetched from
// a URL is denied, as nothing ties it to a registry or a publisher. An assay.lock is obeyed.
func Default() *Policy {
	set := func(l Level) Setting { return Setting{Level: l} }
	return &Policy{
		Default:        Defaults{Invalid: set(Deny), Unchecked: set(Error), Unsigned: set(Deny), Signed: set(Warn)},
		Sources:        Sources{Git: set(Warn), URL: set(Deny), File: set(Allow), OtherHost: set(Deny)},
		Identity:       Identity{NoRepository: set(Warn), SelfHosted: set(Note), Unpinned: set(Warn)},
		Drift:          set(Deny),
		Downgrade:      Downgrade{Line: set(Deny), Package: set(Warn)},
		MinAge:         MinAge{Setting: set(Deny)},
		ManifestChange: set(Allow),
		Burst:          set(Allow),
		Unbound:        set(Warn),
		ExpiredKey:     set(Note),
		Ratchet:        Ratchet{Setting: set(Deny)},
		Registries:     map[string]Registry{},
	}
}

// Expects reports whether the policy or the pins demand provenance of a package, so that its attestations are
// to be asked for even where the registry announces none.
func (p *Policy) Expects(name, version string, lock *Lock) bool {
	for i := range p.Critical {
		if c := &p.Critical[i]; c.Require == verify.Provenance && anyMatches(c.Packages, name, version) {
			return true
		}
	}
	for i := range p.Publishers {
		if anyMatches(p.Publishers[i].Packages, name, version) {
			return true
		}
	}
	pin, _ := lock.Pin(name, version)
	return pin != nil && pin.Floor == verify.Provenance
}

// Plain returns the built-in rules with what this policy knows of issuers and registries: what the checks need to
// know, without what is accepted.
func (p *Policy) Plain() *Policy {
	plain := Default()
	plain.Issuers, plain.Registries = p.Issuers, p.Registries
	return plain
}

// NeedsHistory reports whether a rule looks at the package's other versions. The built-in ones do so for versions that
// are new to the project; one of the user's that asks for them gets them for every version.
func (p *Policy) NeedsHistory(s *Subject) bool {
	switch attested := s.Outcome.Verdict == verify.Provenance; {
	case p.asksHistory(s):
		return true
	case s.held() || s.Outcome.Verdict == verify.Invalid:
		return false
	case p.ManifestChange.Level != Allow || p.Burst.Level != Allow:
		return true
	case attested:
		return p.MinAge.Attested > 0 && (s.Outcome.Published.IsZero() || s.Now.Sub(s.Outcome.Published) < p.MinAge.Attested)
	default:
		return p.MinAge.Unattested > 0 || p.Downgrade.Line.Line > 0 || p.Downgrade.Package.Line > 0
	}
}
