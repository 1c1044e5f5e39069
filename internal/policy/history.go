package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

const (
	// youngPractice is how long other release lines must have had provenance before its absence in this one tells
	// anything: npm/node-semver published lines 5 and 6 by hand three days after 7.5.1 had got the first.
	youngPractice = 14 * 24 * time.Hour
	// news is how long a version is new. What came suddenly, or with changes that nobody here accepted the state
	// before of, is told of until then: what does harm is found within days, and whatever is older was once new.
	news = 30 * 24 * time.Hour
)

// at is when a version was published: the verified time of its publish attestation, else what the registry says.
func (v *Version) at() time.Time {
	if !v.Logged.IsZero() {
		return v.Logged
	}
	return v.Time
}

// stands reports whether the version may be compared with: the registry did not take it down, and no advisory says
// that it was made to do harm. One that is deprecated stands. So does one with a vulnerability: every version has
// one some day, and whoever publishes next to an advisory must not find that nothing before counts.
func (v *Version) stands() bool { return !v.Removed && !v.Malicious }

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

func had(v *Version) bool {
	attested, _ := v.attested()
	return attested
}

// earlier returns the versions that stand and were published before the subject's own, oldest first, those of its
// kind only: prereleases are compared with prereleases. Where nothing tells when the subject's was published, all
// others are earlier.
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
			if own.at().IsZero() {
				continue
			}
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
func (p *Policy) Precedents(s *Subject) []*Version {
	if s.own() == nil {
		return nil
	}
	var list []*Version
	add := func(v *Version) {
		if v != nil && v.Verdict == "" && v.Announced && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if p.asksHistory(s) {
		add(s.previous())
	}
	earlier := s.earlier()
	line := inLine(earlier, npm.ReleaseLine(s.ID.Version))
	if s.Outcome.Verdict == verify.Provenance {
		pin, _ := s.Lock.Pin(s.ID.Name, s.ID.Version)
		if pin != nil && pin.Floor != verify.Provenance || p.Burst.Level != Allow && (pin == nil || len(pin.Publishers) == 0) && s.crowded() {
			add(lastOf(line, had))
		}
		return list
	}
	add(lastOf(line, had))
	add(lastOf(earlier, had))
	return list
}

// history speaks of what the package's other versions say of this one.
func (p *Policy) history(s *Subject, add addFunc) {
	p.minAge(s, add)
	if s.History == nil {
		return
	}
	problem := s.History.Problem
	if problem == "" && s.own() == nil {
		problem = "the registry's list of versions does not hold it"
	}
	if problem != "" {
		set := Setting{Level: Warn}
		if p.hangsOn(s) {
			set.Level = Error
		}
		add("history", set, "its other versions could not be looked at: %s", problem)
		return
	}
	if own := s.own(); own.Advisory != "" {
		add("history", Setting{Level: Note}, "an advisory names this version: %s", cut(own.Advisory))
	}
	p.downgrades(s, add)
	p.manifestChange(s, add)
	p.burst(s, add)
}

// hangsOn reports whether a rule that denies needs the history.
func (p *Policy) hangsOn(s *Subject) bool {
	denies := func(set Setting) bool { return set.Level == Deny && !p.observes(set) }
	return denies(p.ManifestChange) || denies(p.Burst) || p.looksForLoss(s) && (denies(p.Downgrade.Line) || denies(p.Downgrade.Package))
}

// looksForLoss reports whether the policy asks for provenance that went missing, and the subject has none.
func (p *Policy) looksForLoss(s *Subject) bool {
	v := s.Outcome.Verdict
	return (p.Downgrade.Line.Line > 0 || p.Downgrade.Package.Line > 0) && (v == verify.Signed || v == verify.Unsigned) &&
		!anyMatches(p.Downgrade.Exclude, s.ID.Name, s.ID.Version)
}

// downgrades looks for provenance that the package had and this version has not: first in its release line, then in
// the whole package, as it is dated.
func (p *Policy) downgrades(s *Subject, add addFunc) {
	if !p.looksForLoss(s) {
		return
	}
	own, earlier := s.own(), s.earlier()
	line := inLine(earlier, npm.ReleaseLine(s.ID.Version))
	last := lastOf(line, had)
	if last != nil && !p.lostInLine(s, own, line, last, add) {
		return
	}
	if last == nil {
		// A line that never had provenance loses none. It is told of while the others' practice is more than an attempt,
		// and has not been given up since.
		if practice(earlier, own) < youngPractice || p.long(s, own.at()) {
			return
		}
		if last = lastOf(earlier, had); last == nil || p.lapsed(attestedLines(earlier), last, own) {
			return
		}
	} else {
		last = lastOf(earlier, had)
	}
	add("downgrade-package", p.Downgrade.Package, "%s%s, and this version is %s", hadProvenance(last), since(earlier, last), s.Outcome.Verdict)
}

// lostInLine tells of a release line that had provenance, and reports whether that is news: not what has been so for
// long, and not what the project accepted before.
func (p *Policy) lostInLine(s *Subject, own *Version, line []*Version, last *Version, add addFunc) bool {
	set := p.Downgrade.Line
	message := fmt.Sprintf("%s, and this version is %s", hadProvenance(last), s.Outcome.Verdict)
	isNews := false
	switch accepted := s.acceptedWithout(line, last); {
	case accepted != nil:
		message += fmt.Sprintf("; so is %s, which was accepted here", accepted.Version)
	case p.long(s, own.at()):
		message += fmt.Sprintf("; it has been out since %s", own.at().UTC().Format(time.DateOnly))
	case p.lapsed(line, last, own):
		// What came between was without as well, for long enough that it is how the line is made now.
		message += "; so have been the versions between, for some time"
	default:
		isNews = true
		if pin, _ := s.Lock.Pin(s.ID.Name, s.ID.Version); pin != nil && pin.Floor == verify.Provenance {
			return true // the pin tells of it
		}
	}
	if !isNews {
		set.Level = min2(set.Level, Note)
	}
	add("downgrade-line", set, "%s", message)
	return isNews
}

// acceptedWithout returns a version of the line that the project holds, and that came without provenance after the
// last that had it: the question was put and answered then. nil if there is none.
func (s *Subject) acceptedWithout(line []*Version, last *Version) *Version {
	held := s.before()
	return lastOf(line[slices.Index(line, last)+1:], func(v *Version) bool { return !had(v) && slices.Contains(held, v.Version) })
}

// long reports whether a version has been out for longer than the policy wants to hear of.
func (p *Policy) long(s *Subject, at time.Time) bool {
	return p.Downgrade.QuietAfter > 0 && !at.IsZero() && s.Now.Sub(at) > p.Downgrade.QuietAfter
}

// lapsed reports whether versions that stand were published without provenance, after the last that had it, and
// long before this one: a burst of bad versions must not make itself the precedent.
func (p *Policy) lapsed(versions []*Version, last, own *Version) bool {
	if p.Downgrade.QuietAfter <= 0 || own.at().IsZero() {
		return false
	}
	after := versions[slices.Index(versions, last)+1:]
	return len(after) > 0 && !after[0].at().IsZero() && own.at().Sub(after[0].at()) > p.Downgrade.QuietAfter
}

// attestedLines returns the versions of release lines that have had provenance.
func attestedLines(versions []*Version) []*Version {
	lines := make(map[string]bool)
	for _, v := range versions {
		if had(v) {
			lines[npm.ReleaseLine(v.Version)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(versions), func(v *Version) bool { return !lines[npm.ReleaseLine(v.Version)] })
}

// min2 is the lighter of two levels.
func min2(a, b Level) Level {
	if weight[a] <= weight[b] {
		return a
	}
	return b
}

// lastOf is the last of the versions that are as wanted, nil if none is.
func lastOf(versions []*Version, wanted func(*Version) bool) *Version {
	for _, v := range slices.Backward(versions) {
		if wanted(v) {
			return v
		}
	}
	return nil
}

// firstOf is the first of the versions that are as wanted, nil if none is.
func firstOf(versions []*Version, wanted func(*Version) bool) *Version {
	for _, v := range versions {
		if wanted(v) {
			return v
		}
	}
	return nil
}

// practice is for how long before a version the package had been published with provenance.
func practice(earlier []*Version, own *Version) time.Duration {
	first := firstOf(earlier, had)
	if first == nil || first.at().IsZero() || own.at().IsZero() {
		return youngPractice // unknown times are no excuse
	}
	return own.at().Sub(first.at())
}

// since says for how long the package has been published with provenance.
func since(earlier []*Version, last *Version) string {
	first := firstOf(earlier, had)
	if first == last || first.at().IsZero() {
		return ""
	}
	return fmt.Sprintf(", as the package has had since %s of %s", first.Version, first.at().UTC().Format(time.DateOnly))
}

func hadProvenance(v *Version) string {
	if _, verified := v.attested(); !verified {
		return fmt.Sprintf("the registry announces provenance of %s, which was not verified", v.Version)
	}
	return fmt.Sprintf("%s had provenance, by %s", v.Version, described(v.Publisher))
}

// minAge holds versions that are new to the project to an age. What could not be checked is neither attested nor
// not: between the two ages it is open.
func (p *Policy) minAge(s *Subject, add addFunc) {
	m := &p.MinAge
	v := s.Outcome.Verdict
	least, most := m.Unattested, m.Unattested
	switch v {
	case verify.Provenance:
		least, most = m.Attested, m.Attested
	case verify.Unchecked, "":
		least = min(m.Attested, m.Unattested)
	}
	if most == 0 || s.held() || v == verify.Invalid || anyMatches(m.Except, s.ID.Name, s.ID.Version) {
		return
	}
	set := m.Setting
	at, verified := s.published()
	if at.IsZero() {
		set.Level = Error
		why := "nothing tells when it was published"
		if s.History != nil && s.History.Problem != "" {
			why += ": " + s.History.Problem
		}
		add("min-age", set, "it has to be %s old, and %s", short(most), why)
		return
	}
	age := s.Now.Sub(at)
	if age >= most {
		return
	}
	source := "by the registry's word"
	if verified {
		source = "by the transparency log"
	}
	if age < 0 {
		add("min-age", set, "it was published at %s (%s), which is still to come", at.UTC().Format(time.RFC3339), source)
		return
	}
	if m.AdvisoryFix {
		if fixed := s.fixesAdvisory(); fixed != nil {
			add("min-age", Setting{Level: min2(Note, set.Level), Place: m.Place}, "it is %s old, and mends what an advisory names in %s: %s", short(age), fixed.Version, cut(fixed.Advisory))
			return
		}
	}
	what := "without provenance"
	switch {
	case v == verify.Provenance:
		what = "with provenance"
	case age >= least:
		set.Level, what = Error, "whose provenance could not be checked"
	}
	unadvised := ""
	if m.AdvisoryFix && s.History != nil && s.History.Unadvised != "" {
		unadvised = "; whether it mends what an advisory names is not known: " + s.History.Unadvised
	}
	add("min-age", set, "it is %s old (%s); a version %s that is new here has to be %s old, which it is on %s%s",
		short(age), source, what, short(most), at.Add(most).UTC().Format("2006-01-02 15:04 MST"), unadvised)
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

// fixesAdvisory returns a version below this one that the project held and that an advisory names, where none names
// this one; else nil.
func (s *Subject) fixesAdvisory() *Version {
	if own := s.own(); own == nil || own.Vulnerable {
		return nil
	}
	held := s.before()
	for i := range s.History.Versions {
		if v := &s.History.Versions[i]; v.Vulnerable && slices.Contains(held, v.Version) && npm.CompareVersions(v.Version, s.ID.Version) < 0 {
			return v
		}
	}
	return nil
}

// Advised returns the versions of the package that the registry's advisories are to be asked about, since what they
// say could lift a denial: that this version mends a vulnerability of one before, or that one with provenance that
// it is compared with was made to do harm. It is empty where nothing hangs on that.
func (p *Policy) Advised(s *Subject) []string {
	if s.History == nil || s.History.Problem != "" || s.own() == nil || s.held() {
		return nil
	}
	young, lost := false, false
	deny := func(to *bool) addFunc {
		return func(_ string, set Setting, _ string, _ ...any) { *to = *to || set.Level == Deny }
	}
	held := s.before()
	if p.MinAge.AdvisoryFix && len(held) > 0 {
		p.minAge(s, deny(&young))
	}
	p.downgrades(s, deny(&lost))
	if !young && !lost {
		return nil
	}
	list := append([]string{s.ID.Version}, held...)
	if lost {
		for _, v := range s.earlier() {
			if had(v) {
				list = append(list, v.Version)
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(npm.CompareVersions(a, b), strings.Compare(a, b)) })
	return slices.Compact(list)
}

// accepted is the version that the project accepted last and that this one takes the place of: the nearest below
// it in its release line that it held, else the nearest it held at all. Without any, it is the precedent in the
// history, and held is false.
func (s *Subject) accepted() (v *Version, held bool) {
	line := npm.ReleaseLine(s.ID.Version)
	before := s.before()
	for i := range s.History.Versions {
		w := &s.History.Versions[i]
		if !slices.Contains(before, w.Version) || w.Version == s.ID.Version || w.Removed {
			continue
		}
		if v == nil || nearer(w.Version, v.Version, s.ID.Version, line) {
			v = w
		}
	}
	if v == nil {
		return s.previous(), false
	}
	return v, true
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

// isNew reports whether the subject's version came out so lately that its coming is news, or at a time that nobody knows.
func (s *Subject) isNew(own *Version) bool {
	return own.at().IsZero() || s.Now.Sub(own.at()) <= news
}

// manifestChange speaks of what runs or comes along on install and did not in the last accepted version.
func (p *Policy) manifestChange(s *Subject, add addFunc) {
	if p.ManifestChange.Level == Allow || s.held() {
		return
	}
	own := s.own()
	last, held := s.accepted()
	if last == nil || !held && !s.isNew(own) {
		return // nothing to compare with: the package is new here, and so it was accepted as it has long been
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
			list = append(list, fmt.Sprintf("new dependency %s from %s", cut(name), cut(spec)))
		case !ok:
			list = append(list, fmt.Sprintf("new dependency %s %s", cut(name), cut(spec)))
		case elsewhere(spec) && was != spec:
			list = append(list, fmt.Sprintf("dependency %s %s → %s", cut(name), cut(was), cut(spec)))
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
