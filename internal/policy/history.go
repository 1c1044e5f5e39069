package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

// youngPractice is how long other release lines must have had provenance before its absence in this one tells
// anything: npm/node-semver published lines 5 and 6 by hand three days after 7.5.1 had got the first.
const youngPractice = 14 * 24 * time.Hour

// at is when a version was published: the verified time of its publish attestation, else what the registry says.
func (v *Version) at() time.Time {
	if !v.Logged.IsZero() {
		return v.Logged
	}
	return v.Time
}

// stands reports whether the version may be compared with: the registry did not take it down and no advisory
// names it. A deprecated one stands.
func (v *Version) stands() bool { return !v.Removed && !v.Vulnerable }

// attested reports whether the version had provenance: verified, or only announced by the registry where nobody
// verified it.
func (v *Version) attested() (attested, verified bool) {
	switch v.Verdict {
	case verify.Provenance:
		return true, true
	case "", verify.Unchecked:
		return v.Announced, false
	}
	return false, true
}

// earlier returns the versions that stand and were published before the subject's own, oldest first, those of its
// kind only: prereleases are compared with prereleases.
func (s *Subject) earlier() []*Version {
	own := s.own()
	if own == nil {
		return nil
	}
	pre := npm.IsPrerelease(s.ID.Version)
	var list []*Version
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if v == own {
			break
		}
		if v.stands() && npm.IsPrerelease(v.Version) == pre {
			list = append(list, v)
		}
	}
	return list
}

// inLine returns those of a release line.
func inLine(versions []*Version, line string) []*Version {
	return slices.DeleteFunc(slices.Clone(versions), func(v *Version) bool { return npm.ReleaseLine(v.Version) != line })
}

// previous is the version that the subject is compared with: the last one before it in its release line that still
// stands, else of the package. nil if there is none or nothing is known.
func (s *Subject) previous() *Version {
	earlier := s.earlier()
	if own := inLine(earlier, npm.ReleaseLine(s.ID.Version)); len(own) > 0 {
		return own[len(own)-1]
	}
	if len(earlier) > 0 {
		return earlier[len(earlier)-1]
	}
	return nil
}

// Precedents returns the versions in the history that the subject is compared with and whose provenance nobody has
// verified yet, a handful at most, for the caller to verify and write down.
func (s *Subject) Precedents() []*Version {
	var list []*Version
	add := func(v *Version) {
		if v != nil && v.Verdict == "" && v.Announced && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if s.own() == nil {
		return nil
	}
	earlier := s.earlier()
	add(s.previous())
	add(s.accepted())
	add(lastAttested(inLine(earlier, npm.ReleaseLine(s.ID.Version))))
	add(lastAttested(earlier))
	return list
}

// history speaks of what the package's other versions say of this one.
func (p *Policy) history(s *Subject, add addFunc) {
	p.minAge(s, add)
	if s.History == nil {
		return
	}
	if s.History.Problem != "" {
		if p.Downgrade.Line.Line > 0 || p.ManifestChange.Level == Deny || p.Burst.Level == Deny {
			add("history", Setting{Level: Error}, "its other versions could not be looked at: %s", s.History.Problem)
		} else {
			add("history", Setting{Level: Warn}, "its other versions could not be looked at: %s", s.History.Problem)
		}
		return
	}
	p.downgrades(s, add)
	p.manifestChange(s, add)
	p.burst(s, add)
}

// downgrades looks for provenance that the package had and this version has not.
func (p *Policy) downgrades(s *Subject, add addFunc) {
	v := s.Outcome.Verdict
	if p.Downgrade.Line.Line == 0 && p.Downgrade.Package.Line == 0 || v != verify.Signed && v != verify.Unsigned ||
		anyMatches(p.Downgrade.Exclude, s.ID.Name, s.ID.Version) {
		return
	}
	own := s.own()
	if own == nil {
		add("history", Setting{Level: Error}, "the registry's list of versions does not hold it")
		return
	}
	earlier := s.earlier()
	line := inLine(earlier, npm.ReleaseLine(s.ID.Version))
	quiet := func(at time.Time) bool {
		return p.Downgrade.QuietAfter > 0 && !at.IsZero() && s.Now.Sub(at) > p.Downgrade.QuietAfter
	}
	set, rule := p.Downgrade.Line, "downgrade-line"
	last := lastAttested(line)
	if last == nil {
		if last = lastAttested(earlier); last == nil || practice(earlier, own) < youngPractice {
			return
		}
		set, rule = p.Downgrade.Package, "downgrade-package"
	}
	message := fmt.Sprintf("%s, and this version is %s", hadProvenance(last), v)
	switch {
	case quiet(own.at()):
		set.Level = min2(set.Level, Note)
		message += fmt.Sprintf("; it has been out since %s", own.at().UTC().Format(time.DateOnly))
	case rule == "downgrade-line" && lapsed(line, last, own, p.Downgrade.QuietAfter):
		// What came between was without as well, for long enough that it is how the line is made now.
		set.Level = min2(set.Level, Note)
		message += "; so have been the versions between, for some time"
	}
	add(rule, set, "%s", message)
}

// min2 is the lighter of two levels.
func min2(a, b Level) Level {
	if weight[a] <= weight[b] {
		return a
	}
	return b
}

// lastAttested is the last of the versions that had provenance, nil if none had.
func lastAttested(versions []*Version) *Version {
	for _, v := range slices.Backward(versions) {
		if attested, _ := v.attested(); attested {
			return v
		}
	}
	return nil
}

// practice is for how long before a version the package had been published with provenance.
func practice(earlier []*Version, own *Version) time.Duration {
	for _, v := range earlier {
		if attested, _ := v.attested(); attested && !v.at().IsZero() && !own.at().IsZero() {
			return own.at().Sub(v.at())
		}
	}
	return youngPractice // unknown times are no excuse
}

// lapsed reports whether versions that stand were published without provenance, after the last that had it, and
// long before this one: a burst of bad versions must not make itself the precedent.
func lapsed(line []*Version, last, own *Version, quietAfter time.Duration) bool {
	if quietAfter <= 0 || own.at().IsZero() {
		return false
	}
	after := line[slices.Index(line, last)+1:]
	return len(after) > 0 && !after[0].at().IsZero() && own.at().Sub(after[0].at()) > quietAfter
}

func hadProvenance(v *Version) string {
	if _, verified := v.attested(); !verified {
		return fmt.Sprintf("the registry announces provenance of %s, which was not verified", v.Version)
	}
	return fmt.Sprintf("%s had provenance, by %s", v.Version, described(v.Publisher))
}

// minAge holds versions that are new to the project to an age.
func (p *Policy) minAge(s *Subject, add addFunc) {
	m := &p.MinAge
	attested := s.Outcome.Verdict == verify.Provenance
	least := m.Unattested
	if attested {
		least = m.Attested
	}
	if least == 0 || s.held() || s.Outcome.Verdict == verify.Invalid || anyMatches(m.Except, s.ID.Name, s.ID.Version) {
		return
	}
	at, verified := s.published()
	if at.IsZero() {
		set := m.Setting
		set.Level = Error
		why := "nothing tells when it was published"
		if s.History != nil && s.History.Problem != "" {
			why += ": " + s.History.Problem
		}
		add("min-age", set, "it has to be %s old, and %s", short(least), why)
		return
	}
	age := s.Now.Sub(at)
	if age >= least {
		return
	}
	if m.AdvisoryFix && s.fixesAdvisory() {
		add("min-age", Setting{Level: Note, Place: m.Place}, "it is %s old, and mends what an advisory names in the version before", short(max(age, 0)))
		return
	}
	source := "by the registry's word"
	if verified {
		source = "by the transparency log"
	}
	what := "without provenance"
	if attested {
		what = "with provenance"
	}
	if age < 0 {
		add("min-age", m.Setting, "it was published at %s (%s), which is still to come", at.UTC().Format(time.RFC3339), source)
		return
	}
	add("min-age", m.Setting, "it is %s old (%s); a version %s that is new here has to be %s old, which it is on %s",
		short(age), source, what, short(least), at.Add(least).UTC().Format("2006-01-02 15:04 MST"))
}

// held reports whether the project held this very version before.
func (s *Subject) held() bool {
	if s.Lock.Holds(s.ID.Name, s.ID.Version) {
		return true
	}
	if s.Base == nil {
		return false
	}
	return slices.ContainsFunc(s.Base.Packages[s.ID.Name], func(b BasePackage) bool {
		return b.Version == s.ID.Version && (b.Integrity == "" || s.Integrity == "" || b.Integrity == s.Integrity)
	})
}

// before lists the versions of the package that the project held: in the base, else those of the pins.
func (s *Subject) before() []string {
	var versions []string
	if s.Base != nil {
		for _, b := range s.Base.Packages[s.ID.Name] {
			versions = append(versions, b.Version)
		}
	}
	if len(versions) == 0 && s.Lock != nil {
		for _, pin := range s.Lock.Pins[s.ID.Name] {
			versions = append(versions, pin.Versions...)
		}
	}
	return versions
}

// fixesAdvisory reports whether an advisory names a version that the project held and not this one.
func (s *Subject) fixesAdvisory() bool {
	if own := s.own(); own == nil || own.Vulnerable {
		return false
	}
	held := s.before()
	return slices.ContainsFunc(s.History.Versions, func(v Version) bool {
		return v.Vulnerable && slices.Contains(held, v.Version) && npm.CompareVersions(v.Version, s.ID.Version) < 0
	})
}

// accepted is the version that the project accepted last and that this one takes the place of: the nearest below
// it in its release line that it held, else the nearest it held at all, else the precedent in the history.
func (s *Subject) accepted() *Version {
	var best *Version
	line := npm.ReleaseLine(s.ID.Version)
	held := s.before()
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if !slices.Contains(held, v.Version) || v.Version == s.ID.Version {
			continue
		}
		if best == nil || nearer(v.Version, best.Version, s.ID.Version, line) {
			best = v
		}
	}
	if best == nil {
		return s.previous()
	}
	return best
}

// nearer reports whether a is a better predecessor of version than b: in its line before others, below it before
// above, then the higher.
func nearer(a, b, version, line string) bool {
	score := func(v string) (n int) {
		if npm.ReleaseLine(v) == line {
			n += 2
		}
		if npm.CompareVersions(v, version) < 0 {
			n++
		}
		return n
	}
	if x, y := score(a), score(b); x != y {
		return x > y
	}
	return npm.CompareVersions(a, b) > 0
}

// manifestChange speaks of what runs or comes along on install and did not in the last accepted version.
func (p *Policy) manifestChange(s *Subject, add addFunc) {
	if p.ManifestChange.Level == Allow || s.held() {
		return
	}
	own := s.own()
	if own == nil {
		return
	}
	last := s.accepted()
	if last == nil {
		return // nothing to compare with: the package is new
	}
	if changes := own.Manifest.changes(&last.Manifest); len(changes) > 0 {
		add("manifest-change", p.ManifestChange, "since %s: %s", last.Version, strings.Join(changes, "; "))
	}
}

// changes lists what m has and old has not.
func (m *Manifest) changes(old *Manifest) []string {
	var list []string
	for _, name := range sortedKeys(m.Scripts) {
		switch was, ok := old.Scripts[name]; {
		case !ok:
			list = append(list, fmt.Sprintf("new %s script %q", name, cut(m.Scripts[name])))
		case was != m.Scripts[name]:
			list = append(list, fmt.Sprintf("%s script %q → %q", name, cut(was), cut(m.Scripts[name])))
		}
	}
	if m.Gyp && !old.Gyp {
		list = append(list, "new binding.gyp, which npm builds by running it")
	}
	for _, name := range sortedKeys(m.Dependencies) {
		spec := m.Dependencies[name]
		switch was, ok := old.Dependencies[name]; {
		case !ok && elsewhere(spec):
			list = append(list, fmt.Sprintf("new dependency %s from %s", name, cut(spec)))
		case !ok:
			list = append(list, fmt.Sprintf("new dependency %s %s", name, cut(spec)))
		case elsewhere(spec) && was != spec:
			list = append(list, fmt.Sprintf("dependency %s %s → %s", name, cut(was), cut(spec)))
		}
	}
	for _, name := range sortedKeys(m.Bin) {
		if _, ok := old.Bin[name]; !ok {
			list = append(list, fmt.Sprintf("new command %s", cut(name)))
		}
	}
	const most = 12
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	return list
}

// elsewhere reports whether a dependency is asked for by anything but a version, range or tag of a registry.
func elsewhere(spec string) bool {
	return strings.ContainsAny(spec, "/:") && !strings.HasPrefix(spec, "npm:")
}

func cut(s string) string {
	if len(s) > 120 {
		return strings.ToValidUTF8(s[:120], "") + "…"
	}
	return s
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
