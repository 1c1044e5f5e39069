package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

// What counts as sudden. The figures are those of real thefts of accounts: two versions of one package six minutes
// apart, several release lines within half an hour, dozens of packages within a few minutes, the same new script in
// packages of several people within a day.
const (
	burstWindow   = time.Hour
	quickWindow   = burstWindow / 4
	burstVersions = 3
	burstLines    = 2
	burstPackages = 5
	sameScripts   = 3
	scriptWindow  = 24 * time.Hour
	dormantAfter  = 365 * 24 * time.Hour
	newAccount    = 30 * 24 * time.Hour

	// noticed is how long it takes at most until what an account or a workflow was made to publish in a burst is noticed
	// and taken down: minutes to two days, in every case that is known. What stands for longer was looked at.
	noticed = 72 * time.Hour
	// Packages have their habits: what one did on so many occasions within the year before is no sign of anything.
	habitOccasions = 2
	habitWindow    = 365 * 24 * time.Hour
	habitRows      = 128
)

// A Tree is what the packages of one run say together.
type Tree struct {
	accounts map[string][]release // by account that published, without verified publishers
	scripts  map[string][]release // by what runs or is fetched on install, and did not or was not before
}

// A release is one version that is new to the project.
type release struct {
	name, repository string
	at               time.Time
}

// NewTree puts the subjects of one run together. Those that the project held before count for nothing.
func NewTree(subjects []*Subject) *Tree {
	t := &Tree{accounts: make(map[string][]release), scripts: make(map[string][]release)}
	for _, s := range subjects {
		own := s.own()
		if own == nil || own.at().IsZero() || s.held() || !s.isNew(own) {
			continue
		}
		last, _ := s.accepted()
		r := release{s.ID.Name, strings.ToLower(own.Repository), own.at()}
		if last != nil && last.Repository != "" { // what was said before whatever happened
			r.repository = strings.ToLower(last.Repository)
		}
		if s.Outcome.Verdict != verify.Provenance && own.User != "" {
			t.accounts[own.User] = append(t.accounts[own.User], r)
		}
		if last != nil {
			for _, text := range own.Manifest.runs(&last.Manifest) {
				t.scripts[text] = append(t.scripts[text], r)
			}
		}
	}
	return t
}

// runs lists the install scripts, and the dependencies from outside of the registry, that m has and old has not.
func (m *Manifest) runs(old *Manifest) []string {
	var list []string
	for _, name := range sortedKeys(m.Scripts) {
		if old.Scripts[name] != m.Scripts[name] {
			list = append(list, "install script "+m.Scripts[name])
		}
	}
	for _, name := range sortedKeys(m.Dependencies) {
		if spec := m.Dependencies[name]; elsewhere(spec) && old.Dependencies[name] != spec {
			list = append(list, "dependency "+spec)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// within counts the packages, and the repositories that they are from, released within a window around a time.
func within(releases []release, at time.Time, window time.Duration) (packages, repositories int) {
	names, from := make(map[string]bool), make(map[string]bool)
	for _, r := range releases {
		if r.at.Sub(at).Abs() <= window {
			names[r.name], from[r.repository] = true, true
		}
	}
	return len(names), len(from)
}

// burst speaks of versions that came suddenly: several of the package at once, by an account that is new to it where
// another was usual, or together with others that have nothing to do with it.
func (p *Policy) burst(s *Subject, add addFunc) {
	own := s.own()
	if p.Burst.Level == Allow || s.held() || own.at().IsZero() || !s.isNew(own) {
		return
	}
	signs := []string{s.stranger(own)}
	if s.Now.Sub(own.at()) <= noticed {
		signs = append(signs, s.sudden(own), s.together(own))
	}
	signs = slices.DeleteFunc(signs, func(sign string) bool { return sign == "" })
	if len(signs) > 0 {
		add("burst", p.Burst, "%s", strings.Join(signs, "; "))
	}
}

// crowded reports whether other versions of the package came within an hour of the subject's.
func (s *Subject) crowded() bool {
	own := s.own()
	return len(s.around(own)) > 1
}

// around returns the releases within an hour of the subject's version, itself among them. Prereleases come as builds
// do, so only the subject's own may be one.
func (s *Subject) around(own *Version) []*Version {
	var list []*Version
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if v == own || !v.at().IsZero() && v.at().Sub(own.at()).Abs() <= burstWindow && !npm.IsPrerelease(v.Version) {
			list = append(list, v)
		}
	}
	return list
}

// sudden tells of several versions at once. The usual publisher may release to all lines together, and put up
// numbers again that the registry took down; nobody releases one line over and over within minutes.
func (s *Subject) sudden(own *Version) string {
	if !s.crowded() {
		return ""
	}
	usual := s.usual()
	line := npm.ReleaseLine(own.Version)
	all, inLine, quick := 0, 0, 0
	lines := make(map[string]bool)
	for _, v := range s.around(own) {
		if usual && v.Removed {
			continue
		}
		all++
		lines[npm.ReleaseLine(v.Version)] = true
		if npm.ReleaseLine(v.Version) == line {
			inLine++
			if v.at().Sub(own.at()).Abs() <= quickWindow && (v == own || npm.IsPrerelease(v.Version) == npm.IsPrerelease(own.Version)) {
				quick++
			}
		}
	}
	together, again := s.habits(own)
	switch {
	case !usual && !together && len(lines) >= burstLines:
		return fmt.Sprintf("%d release lines within an hour", len(lines))
	case again:
	case !usual && len(lines) == 1 && all >= burstVersions, inLine >= burstVersions:
		return fmt.Sprintf("%d versions within an hour", all)
	case quick > 1:
		return fmt.Sprintf("%d versions within a quarter of an hour", quick)
	}
	return ""
}

// habits reports whether the package used to release several lines together, and one line again within the hour.
func (s *Subject) habits(own *Version) (together, again bool) {
	rows := s.past(own)
	togethers, agains := 0, 0
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].at().Sub(rows[n-1].at()) <= burstWindow {
			n++
		}
		lines := make(map[string]int)
		most := 0
		for _, v := range rows[:n] {
			line := npm.ReleaseLine(v.Version)
			lines[line]++
			most = max(most, lines[line])
		}
		if len(lines) >= burstLines {
			togethers++
		}
		if most > 1 {
			agains++
		}
		rows = rows[n:]
	}
	return togethers >= habitOccasions, agains >= habitOccasions
}

// past returns the releases that stand of the year before the subject's version and those that came with it, oldest
// first, a bounded number of them.
func (s *Subject) past(own *Version) []*Version {
	var rows []*Version
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if before := own.at().Sub(v.at()); v.stands() && !v.at().IsZero() && before > burstWindow && before <= habitWindow && !npm.IsPrerelease(v.Version) {
			rows = append(rows, v)
		}
	}
	slices.SortStableFunc(rows, func(a, b *Version) int { return a.at().Compare(b.at()) })
	return rows[max(0, len(rows)-habitRows):]
}

// stranger tells of an account that never published the package before, where that was a robot's work or where nothing
// had come for long. Who publishes is the registry's word, so this only ever adds a doubt.
func (s *Subject) stranger(own *Version) string {
	if s.Outcome.Verdict == verify.Provenance || own.User == "" || own.Trusted {
		return ""
	}
	first, before := s.firstBy(own.User), s.beforeAccount(own.User)
	if first == nil || before == nil || first.at().IsZero() || own.at().Sub(first.at()) > newAccount {
		return ""
	}
	who := fmt.Sprintf("%s (before: %s)", cut(own.User), cut(before.User))
	switch silence := first.at().Sub(before.at()); {
	case silence > dormantAfter:
		return fmt.Sprintf("after a silence of %s, by an account that is new to it: %s", short(silence), who)
	case first == own && (before.Trusted || had(before)):
		return fmt.Sprintf("by an account that is new to it, where a workflow published before: %s", who)
	}
	return ""
}

// firstBy is the first version that an account published, nil if there is none.
func (s *Subject) firstBy(user string) *Version {
	for i := range s.History.Versions {
		if v := &s.History.Versions[i]; v.User == user {
			return v
		}
	}
	return nil
}

// beforeAccount is the last version, of a known account and time, before an account's first; nil if there is none.
func (s *Subject) beforeAccount(user string) (before *Version) {
	for i := range s.History.Versions {
		v := &s.History.Versions[i]
		if v.User == user {
			break
		}
		if !v.Removed && v.User != "" && !v.at().IsZero() {
			before = v
		}
	}
	return before
}

// together tells of what other packages of the run show at the same time.
func (s *Subject) together(own *Version) string {
	if s.Tree == nil {
		return ""
	}
	if s.Outcome.Verdict != verify.Provenance && own.User != "" {
		if n, repositories := within(s.Tree.accounts[own.User], own.at(), burstWindow); n >= burstPackages && repositories > 1 {
			return fmt.Sprintf("%d packages of this project, from %d repositories, by one account within an hour: %s", n, repositories, cut(own.User))
		}
	}
	last, _ := s.accepted()
	if last == nil {
		return ""
	}
	for _, text := range own.Manifest.runs(&last.Manifest) {
		if n, _ := within(s.Tree.scripts[text], own.at(), scriptWindow); n >= sameScripts {
			return fmt.Sprintf("%d packages of this project have, since the same day, the %s", n, cut(text))
		}
	}
	return ""
}

// usual reports whether a verified publisher made this version who may: the pinned one, else the one of the release
// before.
func (s *Subject) usual() bool {
	p := s.Outcome.Publisher
	if p == nil || s.Outcome.Verdict != verify.Provenance {
		return false
	}
	if pin, _ := s.Lock.Pin(s.ID.Name, s.ID.Version); pin != nil && len(pin.Publishers) > 0 {
		_, changes := nearest(pin.Publishers, p, s.ID)
		return drifts(changes) == 0
	}
	return s.restored() != nil
}

// restored returns the last version of the release line that had provenance, if the same publisher made the subject's;
// else nil.
func (s *Subject) restored() *Version {
	last := lastOf(inLine(s.earlier(), npm.ReleaseLine(s.ID.Version)), had)
	if last == nil || last.Publisher == nil || s.Outcome.Publisher == nil {
		return nil
	}
	accepted, _ := Accept(last.Publisher, npm.ID{Name: s.ID.Name, Version: last.Version})
	if drifts(accepted.Compare(s.Outcome.Publisher, s.ID)) > 0 {
		return nil
	}
	return last
}
