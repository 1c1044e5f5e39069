package policy

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// A story is the history of some packages that a project uses, at the time when one version of each is new to it.
// Times of day that no source gives are only in the order that it gives.
type story struct {
	packages []*tale
	now      string // "2006-01-02 15:04"; "": two hours after the last new version came out
	unpinned bool   // the project has no assay.lock; else all packages are pinned as of the version before
	policy   string // in place of the recommended one
}

// A tale is one package of a story.
type tale struct {
	name    string
	version string // the new one
	rows    []Version
	from    string // the version before, which the project held; "": the one before in the version's release line
	others  []string
}

func parseTime(t testing.TB, s string) time.Time {
	t.Helper()
	for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.Parse(form, s); err == nil {
			return at
		}
	}
	t.Fatalf("%q is no time", s)
	return time.Time{}
}

// A trait is what a row of a history has.
type trait func(*Version)

// v is a row: a version, when it came out, and what is known of it.
func v(version, at string, traits ...trait) func(testing.TB) Version {
	return func(t testing.TB) Version {
		t.Helper()
		row := Version{Version: version, Time: parseTime(t, at), Verdict: verify.Signed, User: "somebody", Repository: "",
			Manifest: Manifest{Scripts: map[string]string{}, Dependencies: map[string]string{"lodash": "^4.0.0"}, Bin: map[string]string{}}}
		for _, trait := range traits {
			trait(&row)
		}
		if row.Verdict == verify.Provenance {
			row.Logged = row.Time
		}
		return row
	}
}

type rowOf = func(testing.TB) Version

// pkg is one package with the version that is new, and its rows in the order in which they came out.
func pkg(name, version string, rows ...rowOf) func(testing.TB) *tale {
	return func(t testing.TB) *tale {
		t.Helper()
		p := &tale{name: name, version: version}
		for _, row := range rows {
			r := row(t)
			if r.Repository == "" {
				r.Repository = "https://github.com/x/" + name[strings.IndexByte(name, '/')+1:]
				if r.Publisher != nil {
					r.Repository = r.Publisher.Repository
				}
			}
			p.rows = append(p.rows, r)
		}
		slices.SortStableFunc(p.rows, func(a, b Version) int { return a.Time.Compare(b.Time) })
		return p
	}
}

func id(s string) string {
	h := fnv.New32a()
	h.Write([]byte(s))
	return fmt.Sprint(h.Sum32())
}

// ci is a publisher on GitHub: repository, workflow, ref, event.
func ci(repository, workflow, ref, event string, more ...func(*publisher.Publisher)) *publisher.Publisher {
	owner, _, _ := strings.Cut(repository, "/")
	p := &publisher.Publisher{
		Issuer: publisher.GitHubIssuer, Repository: "https://github.com/" + repository, RepositoryID: id(repository),
		Owner: "https://github.com/" + owner, OwnerID: id(owner), Workflow: ".github/workflows/" + workflow, Ref: ref, Event: event,
		Commit: strings.Repeat("c", 40), Runner: "github-hosted", Visibility: "public",
	}
	for _, m := range more {
		m(p)
	}
	if p.SignerWorkflow == "" {
		p.SignerRepository, p.SignerWorkflow, p.SignerRef = p.Repository, p.Workflow, p.Ref
	}
	return p
}

// Traits.

func att(p *publisher.Publisher) trait {
	return func(v *Version) {
		v.Verdict, v.Publisher, v.Announced = verify.Provenance, p, true
		if v.User == "somebody" {
			v.User = "GitHub Actions"
		}
	}
}

// tp is published by a trusted publisher, with provenance.
func tp(p *publisher.Publisher) trait {
	return func(v *Version) { att(p)(v); v.Trusted = true }
}

func account(user string) trait    { return func(v *Version) { v.User = user } }
func removed(v *Version)           { *v = Version{Version: v.Version, Time: v.Time, Removed: true} }
func malicious(v *Version)         { v.Vulnerable, v.Malicious, v.Advisory = true, true, "Malware" }
func unchecked(v *Version)         { v.Verdict, v.Publisher = verify.Unchecked, nil }
func deprecated(note string) trait { return func(v *Version) { v.Deprecated = note } }
func gyp(v *Version)               { v.Manifest.Gyp = true }
func repo(name string) trait {
	return func(v *Version) { v.Repository = "https://github.com/" + name }
}
func script(name, text string) trait {
	return func(v *Version) { v.Manifest.Scripts[name] = text }
}
func dep(name, spec string) trait {
	return func(v *Version) { v.Manifest.Dependencies[name] = spec }
}

// pinOf is the pin that `assay pin` writes of the rows.
func pinOf(name string, rows ...*Version) Pin {
	var found []Found
	for _, r := range rows {
		found = append(found, Found{ID: npm.ID{Name: name, Version: r.Version}, Verdict: r.Verdict, Publisher: r.Publisher})
	}
	return *Propose(nil, found, nil)[0].New
}

// tell runs a story and returns what is said of each package.
func (s *story) tell(t testing.TB) []told {
	t.Helper()
	p, err := Parse([]byte(cmp.Or(s.policy, Recommended())), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	var now time.Time
	for _, one := range s.packages {
		for i := range one.rows {
			if r := &one.rows[i]; r.Version == one.version && r.Time.After(now) {
				now = r.Time
			}
		}
	}
	now = now.Add(2 * time.Hour)
	if s.now != "" {
		now = parseTime(t, s.now)
	}
	lock := &Lock{File: LockFile, Pins: map[string][]Pin{}}
	var subjects []*Subject
	for _, one := range s.packages {
		subject := one.subject(t, now)
		subject.Lock = lock
		subjects = append(subjects, subject)
		var before []*Version
		for _, version := range append([]string{one.from}, one.others...) {
			if version == "" {
				if v := subject.previous(); v != nil {
					before = append(before, v)
				}
				continue
			}
			i := slices.IndexFunc(subject.History.Versions, func(v Version) bool { return v.Version == version })
			if i < 0 {
				t.Fatalf("%s has no version %s", one.name, version)
			}
			before = append(before, &subject.History.Versions[i])
		}
		if len(before) > 0 {
			lock.Pins[one.name] = append(lock.Pins[one.name], pinOf(one.name, before...))
		}
	}
	// The pins as they are when they are read from the file, so that findings have lines.
	if lock, err = ParseLock(lock.Format(), LockFile); err != nil {
		t.Fatal(err)
	}
	for _, subject := range subjects {
		if subject.Lock = lock; s.unpinned {
			subject.Lock = nil
		}
	}
	tree := NewTree(subjects)
	var all []told
	for i, subject := range subjects {
		subject.Tree = tree
		decision, findings := p.Decide(subject, Filter{})
		all = append(all, told{s.packages[i].name, decision, findings})
	}
	return all
}

func (p *tale) subject(t testing.TB, now time.Time) *Subject {
	t.Helper()
	h := &History{Versions: slices.Clone(p.rows)}
	i := slices.IndexFunc(h.Versions, func(v Version) bool { return v.Version == p.version })
	if i < 0 {
		t.Fatalf("%s has no version %s", p.name, p.version)
	}
	// What is yet to come is not known.
	h.Versions = slices.DeleteFunc(h.Versions, func(v Version) bool { return v.Time.After(now) })
	own := h.Versions[i]
	out := &verify.Outcome{Verdict: own.Verdict, Publisher: own.Publisher, Bound: "lockfile", Locked: true, RegistrySigns: true, Attested: own.Announced}
	if own.Verdict == verify.Provenance {
		out.Published = own.Logged
	}
	if own.Verdict == verify.Unchecked {
		out.Checks = []verify.Result{{ID: "evidence-complete", Status: verify.Error, Reason: "unavailable", Message: "the attestations could not be fetched"}}
	}
	return &Subject{ID: npm.ID{Name: p.name, Version: p.version}, Registry: "https://registry.npmjs.org", Outcome: out, History: h, Now: now}
}

// told is what the policy says of one package.
type told struct {
	name     string
	decision Decision
	findings []Finding
}

// spoken are the rules about histories and pins.
var spoken = []string{"invalid", "drift", "downgrade-line", "downgrade-package", "min-age", "manifest-change", "burst"}

// ofPin reports whether a loss of provenance is told of by the pin.
func ofPin(f Finding) bool {
	return f.Rule == "downgrade-line" && strings.Contains(f.Message, "is pinned as")
}

func (o told) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", o.name, o.decision)
	for _, f := range o.findings {
		fmt.Fprintf(&b, "\n\t%s %s (%s:%d): %s", f.Level, f.Rule, f.File, f.Line, f.Message)
	}
	return b.String()
}

// TestRecommended: the recommended policy is one.
func TestRecommended(t *testing.T) {
	p, err := Parse([]byte(Recommended()), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Mode != Enforce || p.Downgrade.Line.Level != Deny || p.Downgrade.Package.Level != Warn || p.Downgrade.QuietAfter != 30*24*time.Hour ||
		p.MinAge.Attested != 24*time.Hour || p.MinAge.Unattested != 72*time.Hour || !p.MinAge.AdvisoryFix || p.MinAge.Level != Deny ||
		p.ManifestChange.Level != Warn || p.Burst.Level != Warn || p.Drift.Level != Deny || p.Identity.Unpinned.Level != Warn || p.Sources.OtherHost.Level != Deny {
		t.Errorf("%+v", p)
	}
	if len(p.Critical)+len(p.Publishers)+len(p.Rules)+len(p.Waivers) > 0 {
		t.Error("the recommended policy knows nothing of a project, and names packages")
	}
}
