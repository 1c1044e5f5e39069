package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/internal/verify"
)

// A Look is one thing that was looked at to decide about a package: a rule that spoke, or why it did not.
type Look struct {
	Rule  string `json:"rule"`
	Level Level  `json:"level"` // at which it spoke; "" if it did not
	Text  string `json:"text"`  // what it said, or why it said nothing; may quote hostile text
	File  string `json:"file"`  // where it was written, "" for a built-in default
	Line  int    `json:"line"`  // 1-based; 0 if File is ""
}

// Explain decides as [Policy.Decide] does, and tells of everything that was looked at, in the order of [BuiltIn], the user's
// own rules and the waivers behind it. Levels in looks are those before waivers.
func (p *Policy) Explain(s *Subject, filter Filter) (Decision, []Finding, []Look) {
	d, findings := p.Decide(s, filter)
	bare := *p
	bare.Waivers = nil
	_, raw := bare.Decide(s, filter)
	e := &explanation{policy: p, subject: s, raw: raw}
	for _, rule := range BuiltIn() {
		switch rule {
		case "critical":
			e.critical()
		case "publisher":
			e.publishers()
		case "policy-changed", "waiver-expired", "history":
			e.spoken(rule)
		default:
			if !e.spoken(rule) {
				e.quiet(rule)
			}
		}
	}
	e.rules()
	e.waivers()
	return d, findings, e.looks
}

type explanation struct {
	policy  *Policy
	subject *Subject
	raw     []Finding
	looks   []Look
}

// spoken tells what a rule said. It reports false where it said nothing.
func (e *explanation) spoken(rule string) bool {
	spoke := false
	for _, f := range e.raw {
		if f.Rule == rule {
			e.looks = append(e.looks, Look{rule, f.Level, f.Message, f.File, f.Line})
			spoke = true
		}
	}
	return spoke
}

func (e *explanation) say(rule string, at Place, format string, args ...any) {
	e.looks = append(e.looks, Look{Rule: rule, Text: fmt.Sprintf(format, args...), File: at.File, Line: at.Line})
}

// quiet tells why a built-in rule said nothing.
func (e *explanation) quiet(rule string) {
	p, s := e.policy, e.subject
	v := s.Outcome.Verdict
	switch rule {
	case "invalid", "unchecked", "unsigned", "signed":
		if string(v) != rule {
			return // one verdict is not the others
		}
		set := map[string]Setting{"invalid": p.Default.Invalid, "unchecked": p.Default.Unchecked, "unsigned": p.Default.Unsigned, "signed": p.Default.Signed}[rule]
		e.say(rule, set.Place, "it is %s, which is allowed", v)
	case "identity-unchecked":
		if v == verify.Provenance {
			why := "its publisher was compared with the repository that it claims"
			if s.Outcome.RepositoryAbsent {
				why = "its publisher is named by the policy, a pin or the command line, or the level is " + string(p.Identity.NoRepository.Level)
			}
			e.say(rule, p.Identity.NoRepository.Place, "%s", why)
		}
	case "self-hosted":
		if s.Outcome.Publisher != nil {
			e.setting(rule, p.Identity.SelfHosted, "it was built on a %s runner", cmp.Or(s.Outcome.Publisher.Runner, "nameless"))
		}
	case "unpinned", "drift":
		set := p.Identity.Unpinned
		if rule == "drift" {
			set = p.Drift
		}
		e.setting(rule, set, "%s", e.pinned())
	case "downgrade-line", "downgrade-package":
		set := p.Downgrade.Line
		if rule == "downgrade-package" {
			set = p.Downgrade.Package
		}
		switch {
		case anyMatches(p.Downgrade.Exclude, s.ID.Name, s.ID.Version):
			e.say(rule, set.Place, "its loss is accepted by `exclude:`")
		case v == verify.Provenance:
			e.setting(rule, set, "it has provenance")
		case set.Line == 0 && s.Lock == nil:
			e.say(rule, set.Place, "there is no assay.lock, and no policy asks for the history")
		default:
			e.setting(rule, set, "%s", e.past("nothing before it that counts had provenance"))
		}
	case "min-age":
		m := &p.MinAge
		least := m.Unattested
		if v == verify.Provenance {
			least = m.Attested
		}
		at, _ := s.published()
		switch {
		case least == 0:
			e.say(rule, m.Place, "no age is demanded")
		case anyMatches(m.Except, s.ID.Name, s.ID.Version):
			e.say(rule, m.Place, "it is excepted")
		case s.held():
			e.say(rule, m.Place, "the project holds this version already")
		default:
			e.say(rule, m.Place, "it is %s old, and has to be %s", short(s.Now.Sub(at)), short(least))
		}
	case "manifest-change":
		e.setting(rule, p.ManifestChange, "%s", e.past("it brings nothing along on install that the last accepted version did not"))
	case "burst":
		e.setting(rule, p.Burst, "%s", e.past("it did not come suddenly"))
	case "source":
		e.say(rule, p.Sources.OtherHost.Place, "it comes from its registry")
	case "unbound":
		e.setting(rule, p.Unbound, "its verdict is tied to bytes by: %s", cmp.Or(s.Outcome.Bound, "nothing was asked for"))
	case "expired-key":
		e.setting(rule, p.ExpiredKey, "no expired key is involved")
	case "ratchet":
		if p.Ratchet.Base == "" {
			e.say(rule, Place{}, "the policy names no base")
			return
		}
		e.say(rule, p.Ratchet.Place, "it is no worse than at %s", p.Ratchet.Base)
	}
}

// setting tells why a rule is quiet: its level, or what it found.
func (e *explanation) setting(rule string, set Setting, format string, args ...any) {
	if set.Level == Allow {
		e.say(rule, set.Place, "its level is allow")
		return
	}
	e.say(rule, set.Place, format, args...)
}

// pinned says what the pins are about.
func (e *explanation) pinned() string {
	s := e.subject
	pin, others := s.Lock.Pin(s.ID.Name, s.ID.Version)
	switch {
	case s.Lock == nil:
		return "there is no assay.lock"
	case s.Outcome.Verdict == verify.Invalid:
		return "it is invalid, whatever is pinned"
	case pin != nil:
		return fmt.Sprintf("release line %s is pinned at %s:%d: %s", pin.Line, s.Lock.File, pin.At, pin.Describe())
	case others:
		return "other release lines of it are pinned"
	}
	return "it is not pinned"
}

// past says why a rule about other versions is quiet.
func (e *explanation) past(otherwise string) string {
	switch s := e.subject; {
	case s.held():
		return "the project holds this version already"
	case s.History == nil:
		return "its other versions were not asked for"
	case s.History.Problem != "":
		return "its other versions could not be looked at: " + s.History.Problem
	}
	return otherwise
}

func (e *explanation) critical() {
	spoke := e.spoken("critical")
	id := e.subject.ID
	named := 0
	for i := range e.policy.Critical {
		c := &e.policy.Critical[i]
		if !anyMatches(c.Packages, id.Name, id.Version) {
			continue
		}
		if named++; !slices.ContainsFunc(e.raw, func(f Finding) bool { return f.Rule == "critical" && f.File == c.File && f.Line == c.Line }) {
			e.say("critical", c.Place, "%s is required, and it is %s", c.Require, e.subject.Outcome.Verdict)
		}
	}
	if named == 0 && !spoke {
		e.say("critical", Place{}, "none of %d entries names it", len(e.policy.Critical))
	}
}

func (e *explanation) publishers() {
	e.spoken("publisher")
	s, named := e.subject, 0
	for i := range e.policy.Publishers {
		r := &e.policy.Publishers[i]
		if !anyMatches(r.Packages, s.ID.Name, s.ID.Version) {
			continue
		}
		named++
		why := "there is no verified publisher"
		if s.Outcome.Publisher != nil {
			why = cmp.Or(r.Mismatch(s.Outcome.Publisher, s.ID), "it is by this publisher")
		}
		e.say("publisher", r.Place, "%s", why)
	}
	if named == 0 {
		e.say("publisher", Place{}, "none of %d entries names it", len(e.policy.Publishers))
	}
}

func (e *explanation) rules() {
	if len(e.policy.Rules) == 0 {
		return
	}
	v := newView(e.subject)
	for i := range e.policy.Rules {
		r := &e.policy.Rules[i]
		if len(r.Packages) > 0 && !anyMatches(r.Packages, e.subject.ID.Name, e.subject.ID.Version) {
			e.say(r.ID, r.Place, "it is for other packages")
		} else if !e.spoken(r.ID) {
			values := v.values(r)
			if values != "" {
				values = ", with " + values
			}
			e.say(r.ID, r.Place, "%s is false%s", strings.TrimSpace(r.When), values)
		}
	}
}

// values are those of the variables that a rule asks for.
func (v *view) values(r *Rule) string {
	var list []string
	for _, i := range r.asks {
		d := &variables[i]
		switch {
		case v.unknown(i) != "":
			list = append(list, d.name+" unknown")
		case d.text != nil:
			list = append(list, fmt.Sprintf("%s %q", d.name, cut(d.text(v))))
		case d.flag != nil:
			list = append(list, fmt.Sprintf("%s %t", d.name, d.flag(v)))
		case d.list != nil:
			list = append(list, d.name+" "+cut(strings.Join(d.list(v), " > ")))
		default:
			list = append(list, d.name+" "+short(d.span(v)))
		}
	}
	return strings.Join(list, ", ")
}

func (e *explanation) waivers() {
	s := e.subject
	for i := range e.policy.Waivers {
		w := &e.policy.Waivers[i]
		if !w.Package.Match(s.ID.Name, s.ID.Version) {
			continue
		}
		text := fmt.Sprintf("%s is waived by %s until %s", w.Rule, w.By, w.Until.Format(time.DateOnly))
		switch {
		case !s.Now.Before(w.end()):
			text = fmt.Sprintf("the waiver of %s by %s ended on %s", w.Rule, w.By, w.Until.Format(time.DateOnly))
		case !w.covers(s, w.Rule):
			text += ", for other bytes than these"
		case !slices.ContainsFunc(e.raw, func(f Finding) bool { return f.Rule == w.Rule && f.Level != Note }):
			text += ", and there is nothing to waive"
		}
		e.say("waiver", w.Place, "%s", text)
	}
}

// A Doubt is something in a policy that is read and may not be what was meant.
type Doubt struct {
	Place
	Text string
}

// Doubts lists what in the policy a person should look at twice: waivers that have ended or soon will, and levels that let
// through what others would stop.
func (p *Policy) Doubts(now time.Time) []Doubt {
	var list []Doubt
	add := func(at Place, format string, args ...any) {
		list = append(list, Doubt{at, fmt.Sprintf(format, args...)})
	}
	d := &p.Default
	if p.heavier(d.Unsigned, d.Signed) != d.Unsigned && d.Unsigned.Line > 0 {
		add(d.Unsigned.Place, "unsigned is %s and signed %s: what is unsigned counts as %s too, since anybody can leave a signature out", d.Unsigned.Level, d.Signed.Level, d.Signed.Level)
	}
	for _, set := range []Setting{d.Unsigned, d.Signed} {
		if d.Unchecked.Level == Warn && set.Level == Deny && !p.observes(set) {
			add(d.Unchecked.Place, "unchecked is warn: what could not be checked passes, and it may be what is denied otherwise")
			break
		}
	}
	for i := range p.Waivers {
		w := &p.Waivers[i]
		switch {
		case !now.Before(w.end()):
			add(w.Place, "the waiver of %s for %s ended on %s", w.Rule, w.Package.Text, w.Until.Format(time.DateOnly))
		case w.end().Sub(now) <= warnBefore:
			add(w.Place, "the waiver of %s for %s ends on %s", w.Rule, w.Package.Text, w.Until.Format(time.DateOnly))
		}
	}
	for i := range p.Publishers {
		r := &p.Publishers[i]
		if r.RepositoryID == "" && r.OwnerID == "" {
			add(r.Place, "the publisher has a name and no id: a name can change hands; `assay verify` prints the ids")
		}
	}
	return list
}
