package policy

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"pgregory.net/rapid"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// drawn is a policy in parts that may stand in any order, and a subject to decide about.
type drawn struct {
	head  string              // single settings
	lists map[string][]string // entries of the lists
}

func (d *drawn) text(order func([]string) []string) string {
	var b strings.Builder
	b.WriteString("version: 1\n" + d.head)
	keys := slices.Sorted(func(yield func(string) bool) {
		for k := range d.lists {
			if !yield(k) {
				return
			}
		}
	})
	for _, key := range order(keys) {
		if len(d.lists[key]) > 0 {
			fmt.Fprintf(&b, "%s:\n", key)
			for _, entry := range order(d.lists[key]) {
				fmt.Fprintf(&b, "- %s\n", entry)
			}
		}
	}
	return b.String()
}

// asWritten leaves an order alone; shuffled does not.
func asWritten(s []string) []string { return s }
func shuffled(s []string) []string {
	s = slices.Clone(s)
	rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}

// drawPolicy makes up a policy whose own rules ask for nothing that would be better worse.
func drawPolicy(t *rapid.T) *drawn {
	pick := func(label string, choices ...string) string { return rapid.SampledFrom(choices).Draw(t, label) }
	level := func(label string) string { return pick(label, "allow", "note", "warn", "deny") }
	mode := func(label string) string { return pick(label, "", "", ", mode: observe", ", mode: enforce") }
	some := func(label string, choices ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(choices), 0, len(choices), rapid.ID).Draw(t, label)
	}
	d := &drawn{lists: map[string][]string{}}
	d.head = fmt.Sprintf("mode: %s\ndefault: {unchecked: %s, unsigned: %s, signed: %s%s}\n", pick("mode", "enforce", "observe"), pick("unchecked", "warn", "error", "deny"), level("unsigned"), level("signed"), mode("default"))
	d.head += fmt.Sprintf("drift: {level: %s%s}\ndowngrade: {line: %s, package: %s%s}\nidentity: {unpinned: %s, self-hosted: %s, no-repository: %s}\nunbound: %s\n", level("drift"), mode("drift"), level("line"), level("package"), mode("downgrade"), level("unpinned"), level("self-hosted"), level("no-repository"), level("unbound"))
	d.lists["critical"] = some("critical", "{packages: left, require: provenance}", "{packages: 'l*', require: signed, mode: observe}", "{packages: '**', require: signed}", "{packages: right, require: provenance}")
	d.lists["publishers"] = some("publishers", "{packages: left, repository: acme/left}", "{packages: left, repository: mallory/left, mode: observe}", "{packages: '*', repository_id: 11, issuer: 'https://token.actions.githubusercontent.com', event: release}")
	d.lists["rules"] = some("rules", "{id: a, when: 'verdict != \"provenance\"', then: deny, mode: observe}", "{id: b, when: 'verdict in [\"unsigned\", \"unchecked\", \"invalid\"]', then: error}",
		"{id: c, when: 'verdict == \"invalid\" || verdict == \"unchecked\"', then: warn}", "{id: d, when: '!publisher.exists', then: warn}", "{id: e, when: 'direct', then: note}", "{id: f, when: 'publisher.repository != \"https://github.com/acme/left\"', then: deny}")
	d.lists["waivers"] = some("waivers", waiver("critical", "2027-01-01"), waiver("unsigned", "2026-01-01"), waiver("publisher", "2027-01-01"), waiver("drift", "2026-11-28"), waiver("unchecked", "2027-01-01"), waiver("signed", "2027-01-01"),
		waiver("downgrade-line", "2027-01-01"), waiver("drift", "2026-11-20"), "{package: left@1.0.0, rule: invalid, reason: r, by: b, until: 2027-01-01, sha512: "+sri("a")+"}")
	return d
}

func waiver(rule, until string) string {
	return fmt.Sprintf("{package: left, rule: %s, reason: r, by: b, until: %s}", rule, until)
}

func drawSubject(t *rapid.T, evidence string) *Subject {
	o := foundAs(evidence)
	o.RepositoryAbsent = evidence == "provenance" && rapid.Bool().Draw(t, "absent")
	o.Locked, o.Bound = true, rapid.SampledFrom([]string{"none", "lockfile"}).Draw(t, "bound")
	o.RegistrySigns = rapid.Bool().Draw(t, "signs")
	return &Subject{
		ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: o, Integrity: sri(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "bytes")), Now: now, Direct: rapid.Bool().Draw(t, "direct"), Path: []string{"app", "left"},
		Lock: lockedAs(rapid.SampledFrom([]string{"no lock", "not pinned", "pinned", "other line", "weak", "signed", "unsigned"}).Draw(t, "pin")),
	}
}

func read(t *rapid.T, text string) *Policy {
	p, err := Parse([]byte(text), "p.yaml", nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func heavier(a, b Decision) bool { return weight[Level(a)] > weight[Level(b)] }

// TestDecisionsNeverWeaken: worse evidence never gives a lighter decision. Worse is: provenance by whom the policy and the
// pins expect, then the registry's signature only, then none at all, then what contradicts itself. Waivers speak of single
// findings, so without them: a waiver of "unsigned" and none of "signed" is what somebody wrote.
//
// What could not be checked may be any of these. It is never allowed; and where the level of unchecked is error or more it
// is at least that, however light the others are.
func TestDecisionsNeverWeaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawPolicy(t)
		d.lists["waivers"] = nil
		text := d.text(asWritten)
		p := read(t, text)
		s := drawSubject(t, "provenance")
		if pin, _ := s.Lock.Pin("left", "1.0.0"); pin != nil && s.Lock.Pins["left"][0].Publishers != nil && s.Lock.Pins["left"][0].Publishers[0].RepositoryID == "" {
			return // a weak pin does not expect this publisher
		}
		if slices.ContainsFunc(d.lists["publishers"], func(s string) bool { return strings.Contains(s, "mallory") || strings.Contains(s, "release") }) {
			return // nor do these rules
		}
		if s.Outcome.RepositoryAbsent || s.Lock != nil && p.Identity.Unpinned.Level != Allow && (s.Lock.Pins["left"] == nil || s.Lock.Pins["left"][0].Floor != verify.Provenance) {
			return // the publisher was compared with nothing, so nobody expects it
		}
		last := Decision(Allow)
		for _, evidence := range []string{"provenance", "signed", "unsigned", "invalid"} {
			o := *foundAs(evidence)
			o.Locked, o.Bound, o.RegistrySigns = true, "lockfile", s.Outcome.RegistrySigns
			worse := *s
			worse.Outcome = &o
			got, findings := p.Decide(&worse, Filter{})
			if heavier(last, got) {
				t.Fatalf("%s gives %s, and what is better gave %s: %+v\n%s", evidence, got, last, findings, text)
			}
			last = got
		}
		if last != Decision(Deny) {
			t.Fatalf("invalid gives %s\n%s", last, text)
		}
		unknown := *s
		unknown.Outcome = foundAs("unchecked")
		got, findings := p.Decide(&unknown, Filter{})
		if got == Decision(Allow) || p.Default.Unchecked.Level != Warn && p.Mode != Observe && p.Default.Unchecked.Mode != Observe && !heavier(got, Decision(Warn)) {
			t.Fatalf("unchecked gives %s: %+v\n%s", got, findings, text)
		}
		for i := range p.Critical {
			if anyMatches(p.Critical[i].Packages, "left", "1.0.0") && !heavier(got, Decision(Warn)) {
				t.Fatalf("unchecked and critical gives %s: %+v\n%s", got, findings, text)
			}
		}
		if pin, _ := s.Lock.Pin("left", "1.0.0"); pin != nil && pin.Floor != verify.Unsigned && p.Drift.Level != Allow && p.Downgrade.Line.Level != Allow && !heavier(got, Decision(Warn)) {
			t.Fatalf("unchecked below a pin gives %s: %+v\n%s", got, findings, text)
		}
	})
}

// TestFewerFactsNeverHelp: a fact that is taken away (the publisher, the age, the path, the history, the pins' publishers)
// never makes a decision lighter than both answers that it could have had would.
func TestFewerFactsNeverHelp(t *testing.T) {
	type fact struct {
		name         string
		set, another func(*Subject)
		take         func(*Subject)
	}
	version := func(v verify.Verdict, at time.Duration) *History {
		return &History{Versions: []Version{{Version: "0.9.0", Time: now.Add(-1000 * time.Hour), Verdict: v, Publisher: outcome(v).Publisher}, {Version: "1.0.0", Time: now.Add(-at)}}}
	}
	facts := []fact{
		{"reach", func(s *Subject) { s.Reach = "called" }, func(s *Subject) { s.Reach = "unreached" }, func(s *Subject) { s.Reach = "" }},
		{"place", func(s *Subject) { s.Direct, s.Path = true, []string{"app", "left"} }, func(s *Subject) { s.Direct, s.Path = false, []string{"app", "mid", "left"} }, func(s *Subject) { s.Direct, s.Path = false, nil }},
		{"history", func(s *Subject) { s.History = version(verify.Provenance, time.Hour) }, func(s *Subject) { s.History = version(verify.Signed, 999*time.Hour) }, func(s *Subject) { s.History = &History{Problem: "it is down"} }},
		{"history never asked for", func(s *Subject) { s.History = version(verify.Provenance, time.Hour) }, func(s *Subject) { s.History = version(verify.Signed, 999*time.Hour) }, func(s *Subject) { s.History = nil }},
		{"publisher", func(s *Subject) { s.Outcome = foundAs("provenance") }, func(s *Subject) { s.Outcome = foundAs("another's") }, func(s *Subject) { s.Outcome = foundAs("unchecked") }},
	}
	expressions := []string{
		`reach == "called"`, `reach != "called"`, `direct`, `!direct`, `path.exists(p, p == "mid")`, `size(path) < 3`, `pkg.age < duration("24h")`, `pkg.age >= duration("24h")`, `previous.verdict == "provenance"`,
		`previous.exists && previous.verdict != "provenance"`, `publisher.owner_id == "22"`, `publisher.owner_id in ["67"]`, `!publisher.exists`, `publisher.repository.contains("mallory")`, `direct && reach == "called"`,
		`direct || pkg.age < duration("24h")`, `reach == "called" ? direct : publisher.owner_id == "22"`, `[direct, dev].all(x, !x)`, `direct == (reach == "called")`,
	}
	for _, f := range facts {
		for _, when := range expressions {
			p := Default()
			r := Rule{ID: "r", When: when, Then: Deny, Message: "m"}
			if err := r.compile(); err != nil {
				t.Fatal(err)
			}
			p.Rules = []Rule{r}
			decide := func(with func(*Subject)) Decision {
				s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: foundAs("provenance"), Now: now, Reach: "called", Direct: true, Path: []string{"app", "left"}, History: version(verify.Provenance, time.Hour)}
				with(s)
				_, findings := p.Decide(s, Filter{})
				return decision(slices.DeleteFunc(findings, func(f Finding) bool { return f.Rule != "r" }))
			}
			one, other, none := decide(f.set), decide(f.another), decide(f.take)
			if one == other && none != one && none != Decision(Error) || one != other && !heavier(none, Decision(Warn)) {
				t.Errorf("%s without %s: %s; with it %s or %s", when, f.name, none, one, other)
			}
		}
	}
}

// TestOrderIsNothing: in whatever order the entries and sections of a policy stand, the decision is the same, and so are the
// findings that are behind it, but for which of several unmet publishers is named.
func TestOrderIsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawPolicy(t)
		s := drawSubject(t, rapid.SampledFrom(evidences).Draw(t, "evidence"))
		var want Decision
		var said []string
		for i := range 5 {
			order := asWritten
			if i > 0 {
				order = shuffled
			}
			text := d.text(order)
			got, findings := read(t, text).Decide(s, Filter{})
			var rules []string
			for _, f := range findings {
				one := f.Rule + " " + string(f.Level)
				if f.Rule != "publisher" {
					one += " " + f.Message
				}
				rules = append(rules, one)
			}
			slices.Sort(rules)
			if i == 0 {
				want, said = got, rules
			} else if got != want || !slices.Equal(rules, said) {
				t.Fatalf("%s %q\nin another order %s %q\n%s", want, said, got, rules, text)
			}
		}
	})
}

// TestWaiversOnlyHelp: taking a waiver away never makes a decision lighter, but for the warning that it ends; adding a rule,
// a critical package or a level above what is there neither.
func TestWaiversOnlyHelp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawPolicy(t)
		s := drawSubject(t, rapid.SampledFrom(evidences).Draw(t, "evidence"))
		decide := func() Decision {
			_, findings := read(t, d.text(asWritten)).Decide(s, Filter{})
			return decision(slices.DeleteFunc(findings, func(f Finding) bool { return f.Rule == "waiver-expired" }))
		}
		with := decide()
		for _, key := range []string{"waivers", "critical", "rules"} {
			all := d.lists[key]
			for i := range all {
				d.lists[key] = slices.Delete(slices.Clone(all), i, i+1)
				without := decide()
				if key == "waivers" && heavier(with, without) || key != "waivers" && heavier(without, with) {
					t.Fatalf("%s with %s, %s without it\n%s", with, all[i], without, d.text(asWritten))
				}
			}
			d.lists[key] = all
		}
		observed := *d
		observed.head = strings.Replace(d.head, "mode: enforce\n", "mode: observe\n", 1)
		_, findings := read(t, observed.text(asWritten)).Decide(s, Filter{})
		if heavier(decision(findings), with) && !slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == "waiver-expired" }) {
			t.Fatalf("observed it is heavier\n%s", observed.text(asWritten))
		}
		if s.Outcome.Verdict == verify.Invalid && len(d.lists["waivers"]) == 0 && decision(findings) != Decision(Deny) {
			t.Fatalf("invalid is only observed\n%s", observed.text(asWritten))
		}
	})
}

// TestFilterCannotBeWaived: what the command line demands is no matter of the policy's.
func TestFilterCannotBeWaived(t *testing.T) {
	p := parse(t, "mode: observe\nwaivers:\n- "+waiver("publisher", "2027-01-01")+"\n- "+waiver("source", "2027-01-01")+"\n")
	s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: foundAs("another's"), Now: now}
	if d, f := p.Decide(s, Filter{Repository: "acme/left"}); d != Decision(Deny) {
		t.Errorf("%s %+v", d, f)
	}
	s.Oddity = "odd"
	if d, f := p.Decide(s, Filter{}); d != Decision(Deny) {
		t.Errorf("an oddity: %s %+v", d, f)
	}
	if d, f := p.DecideSource(Dependency{ID: s.ID, Source: "unknown", Now: now}); d != Decision(Allow) {
		t.Errorf("a waived source: %s %+v", d, f)
	}
	if d, f := p.DecideSource(Dependency{ID: s.ID, Source: "unknown", Oddity: "odd", Now: now}); d != Decision(Deny) {
		t.Errorf("an odd source: %s %+v", d, f)
	}
	exact := parse(t, "waivers: [{package: left@1.0.0, rule: source, reason: r, by: b, until: 2027-01-01}]\n")
	if d, f := exact.DecideSource(Dependency{ID: npm.ID{Name: "left"}, Source: "unknown", Now: now}); d != Decision(Error) {
		t.Errorf("a waiver of one version covers one that nobody knows: %s %+v", d, f)
	}
}

// TestWaiverDays: a waiver counts to the end of its day in UTC, and is told of in its last week.
func TestWaiverDays(t *testing.T) {
	p := parse(t, "waivers: [{package: left, rule: unsigned, reason: r, by: b, until: 2026-11-25}]\n")
	for at, want := range map[string]string{
		"2026-11-18T23:59:59Z": "allow ", "2026-11-19T00:00:00Z": "warn ends on", "2026-11-25T23:59:59Z": "warn ends on", "2026-11-26T00:00:00Z": "deny ended on", "2026-11-25T23:30:00-05:00": "deny ended on",
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		d, findings := p.Decide(&Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: foundAs("unsigned"), Now: when}, Filter{})
		decision, message, _ := strings.Cut(want, " ")
		if d != Decision(decision) || message != "" && !strings.Contains(fmt.Sprint(findings), message) {
			t.Errorf("at %s: %s %+v, want %s", at, d, findings, want)
		}
	}
}

// drawExpression makes up an expression of the kind that is answered without CEL, and of kinds that are not.
func drawExpression(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		texts := []string{"pkg.name", "pkg.version", "pkg.scope", "verdict", "publisher.event", "publisher.ref", "publisher.repository", "pinned.floor", "pinned.ref", `"left"`, `"push"`, `"refs/"`, `""`, `"provenance"`, `'x'`, "r'a'", `"\u00e9"`}
		flags := []string{"direct", "dev", "publisher.exists", "pinned.exists", "previous.exists", "pkg.prerelease", "true", "false"}
		text := func() string { return rapid.SampledFrom(texts).Draw(t, "text") }
		if depth == 0 {
			return rapid.SampledFrom(flags).Draw(t, "flag")
		}
		inner := func() string { return drawExpression(depth-1).Draw(t, "inner") }
		switch rapid.IntRange(0, 12).Draw(t, "kind") {
		case 0:
			return inner() + " && " + inner()
		case 1:
			return "(" + inner() + " || " + inner() + ")"
		case 2:
			return "!(" + inner() + ")"
		case 3:
			return text() + " == " + text()
		case 4:
			return text() + " != " + text()
		case 5:
			return text() + ".startsWith(" + text() + ")"
		case 6:
			return text() + ".endsWith(" + text() + ")"
		case 7:
			return text() + ".contains(" + text() + ")"
		case 8:
			return text() + " in [" + rapid.SampledFrom([]string{`"push", "left"`, `"x"`, ``, `verdict, "a"`}).Draw(t, "list") + "]"
		case 9:
			return "((" + inner() + ") == (" + inner() + "))"
		case 10:
			return "((" + inner() + ") != (" + inner() + "))"
		case 11:
			return "(" + inner() + " ? " + inner() + " : " + inner() + ")"
		}
		return "size(" + text() + ") > 3"
	})
}

// TestQuickIsCEL: what is answered without the interpreter is what the interpreter answers, and what an interpreter of
// unknowns answers where nothing is unknown.
func TestQuickIsCEL(t *testing.T) {
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		r := Rule{ID: "r", When: drawExpression(3).Draw(t, "when"), Then: Deny}
		err := r.compile()
		if err != nil && strings.Contains(err.Error(), " is never ") { // a made-up word beside a variable of few
			r.When = strings.NewReplacer("verdict", "pkg.version", "pinned.floor", "pinned.ref").Replace(r.When)
			err = r.compile()
		}
		if err != nil {
			t.Fatalf("%s: %v", r.When, err)
		}
		s := drawSubject(t, rapid.SampledFrom(evidences).Draw(t, "evidence"))
		s.History = &History{Versions: []Version{{Version: "1.0.0"}}}
		s.Dev = rapid.Bool().Draw(t, "dev")
		v := newView(s)
		eval := func(prepared func() (cel.Program, error), on any) any {
			p, err := prepared()
			if err != nil {
				t.Fatalf("%s: %v", r.When, err)
			}
			out, _, err := p.Eval(on)
			if err != nil {
				t.Fatalf("%s: %v", r.When, err)
			}
			return out.Value()
		}
		want := eval(r.program, v)
		nothing, err := cel.PartialVars(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := eval(r.partial, nothing); got != want {
			t.Fatalf("%s: %v, and %v with nothing unknown", r.When, want, got)
		}
		if r.quick != nil {
			quick++
			if got := r.quick(v); got != want {
				t.Fatalf("%s: CEL says %v, the short way %v", r.When, want, got)
			}
		}
	})
	if quick < 20 {
		t.Errorf("only %d went the short way", quick)
	}
}

// FuzzExpression: whatever stands for an expression, it is refused with a place or decided within its cost.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"direct", "publisher.event == 'push'", "path.exists(p, p.startsWith('@'))", "pkg.age < duration('1h')", "[1,2].map(x, x)", "has(pkg.name)", "1/0 == 1", "pkg.name.matches('(a+)+$')", "'a'*3", "dyn(1)", "timestamp('x')", "\x00", "{}[1]"} {
		f.Add(s)
	}
	s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: foundAs("provenance"), Now: now, Path: slices.Repeat([]string{strings.Repeat("a", 4000)}, 200), Reach: "called", History: &History{Versions: []Version{{Version: "1.0.0", Time: now}}}}
	blind := &Subject{ID: s.ID, Outcome: foundAs("unchecked"), Now: now}
	f.Fuzz(func(t *testing.T, when string) {
		r := Rule{ID: "r", When: when, Then: Deny}
		if err := r.compile(); err != nil {
			if e, ok := asExpressionError(err); !ok || e.line < 1 || e.column < 0 || e.msg == "" {
				t.Fatalf("%q: %v has no place", when, err)
			}
			return
		}
		start := time.Now()
		first, why := r.ask(newView(s))
		if again, _ := r.ask(newView(s)); again != first {
			t.Fatalf("%q is not the same twice", when)
		}
		if spoke, unknown := r.ask(newView(blind)); spoke && unknown != "" {
			t.Fatalf("%q speaks and does not know", when)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Fatalf("%q takes %v (%s)", when, d, why)
		}
	})
}

// globOracle says the same as glob, by trying everything.
func globOracle(pattern, s string) bool {
	switch {
	case pattern == "*" || pattern == "**":
		return true
	case pattern == "":
		return s == ""
	case strings.HasPrefix(pattern, "**"):
		return anyTail(pattern[2:], s, true)
	case pattern[0] == '*':
		return anyTail(pattern[1:], s, false)
	}
	return s != "" && s[0] == pattern[0] && inside(pattern[1:], s[1:])
}

// inside is globOracle where a lone star is no longer the whole pattern.
func inside(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case strings.HasPrefix(pattern, "**"):
		return anyTail(pattern[2:], s, true)
	case pattern[0] == '*':
		return anyTail(pattern[1:], s, false)
	}
	return s != "" && s[0] == pattern[0] && inside(pattern[1:], s[1:])
}

func anyTail(pattern, s string, slashes bool) bool {
	for i := 0; i <= len(s); i++ {
		if inside(pattern, s[i:]) {
			return true
		}
		if i < len(s) && s[i] == '/' && !slashes {
			return false
		}
	}
	return false
}

// TestGlob holds the matcher to one that tries everything, and where there is no "**" to path.Match.
func TestGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab/*]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab/]{0,8}`).Draw(t, "s")
		got := glob(pattern, s)
		if got != globOracle(pattern, s) {
			t.Fatalf("glob(%q, %q) = %t", pattern, s, got)
		}
		if ok, err := path.Match(pattern, s); err == nil && !strings.Contains(pattern, "**") && pattern != "*" && ok != got {
			t.Fatalf("glob(%q, %q) = %t, and path.Match says %t", pattern, s, got, ok)
		}
	})
	long := strings.Repeat("a", 5000)
	start := time.Now()
	glob("*a*a*a*a*a*a*ab", long)
	if d := time.Since(start); d > time.Second {
		t.Errorf("a hostile name takes %v", d)
	}
}

// FuzzPattern: a pattern that is read matches what it was written for, and only names and versions that there can be.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"react", "@babel/*", "left-pad@1.3.0", "react@18.*", "pkg:npm/%40babel/core@7.24.0", "pkg:npm/react", "**", "*", "@*/x", "a@*", "pkg:npm/a@1.0.0%2Bb", "@a/b@1.*-rc.*"} {
		f.Add(s, "react", "18.1.0")
	}
	f.Fuzz(func(t *testing.T, s, name, version string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		if p.Exact() && (npm.CheckName(p.name) != nil || npm.CheckVersion(p.version) != nil || !p.Match(p.name, p.version)) {
			t.Fatalf("%q names %q %q, which is nothing", s, p.name, p.version)
		}
		if p.name != "*" && p.name != "**" && npm.CheckName(strings.ReplaceAll(p.name, "*", "a")) != nil {
			t.Fatalf("%q names nothing", s)
		}
		if len(name) < 300 && len(version) < 300 {
			want := globOracleBounded(p.name, name) && (p.version == "" || version == "" || globOracleBounded(p.version, version))
			if got := p.Match(name, version); got != want {
				t.Fatalf("%q matches %q %q: %t", s, name, version, got)
			}
		}
		if id := (npm.ID{Name: p.name, Version: p.version}); p.Exact() {
			purl, err := ParsePattern(id.PURL())
			if err != nil || purl.name != p.name || purl.version != p.version {
				t.Fatalf("its purl %s is read as %+v, %v", id.PURL(), purl, err)
			}
		}
	})
}

// globOracleBounded does not try everything where that would be too much.
func globOracleBounded(pattern, s string) bool {
	if strings.Count(pattern, "*") > 3 && len(s) > 40 {
		return glob(pattern, s)
	}
	return globOracle(pattern, s)
}

// TestPatterns: the spellings of a package's name.
func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, name, version string
		want                   bool
	}{
		{"react", "react", "1.0.0", true}, {"react", "react-dom", "1.0.0", false}, {"react", "React", "1.0.0", false}, {"react*", "react-dom", "1.0.0", true},
		{"*", "@babel/core", "1.0.0", true}, {"**", "@babel/core", "1.0.0", true}, {"*core", "@babel/core", "1.0.0", false}, {"**core", "@babel/core", "1.0.0", true},
		{"@babel/*", "@babel/core", "7.0.0", true}, {"@babel/*", "@babel-evil/core", "7.0.0", false}, {"@babel*/*", "@babel-evil/core", "7.0.0", true}, {"@babel/*", "babel", "7.0.0", false},
		{"@*/core", "@babel/core", "7.0.0", true}, {"left-pad@1.3.0", "left-pad", "1.3.0", true}, {"left-pad@1.3.0", "left-pad", "1.3.0-1", false}, {"left-pad@1.3.0", "left-pad", "1.3.00", false},
		{"react@18.*", "react", "18.2.0", true}, {"react@18.*", "react", "180.2.0", false}, {"react@18.*", "react", "18.2.0-rc.1", true}, {"react@*-rc.*", "react", "18.2.0-rc.1", true}, {"react@*", "react", "0.0.1", true},
		{"pkg:npm/%40babel/core@7.24.0", "@babel/core", "7.24.0", true}, {"pkg:npm/%40babel/core@7.24.0", "@babel/core", "7.24.1", false}, {"pkg:npm/react", "react", "1.0.0", true}, {"pkg:npm/%40babel/*", "@babel/x", "1.0.0", true},
		{"pkg:npm/a@1.0.0%2Bb", "a", "1.0.0+b", true},
	} {
		p, err := ParsePattern(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
		} else if got := p.Match(tt.name, tt.version); got != tt.want {
			t.Errorf("%s matches %s@%s: %t", tt.pattern, tt.name, tt.version, got)
		}
	}
	for _, s := range []string{"", "@", "@babel", "a b", "a@", "a@1", "a@1.2", "a@^1.0.0", "a@latest", "a@1.x", "a@>=1", "pkg:npm/@babel/core", "pkg:npm/", "pkg:npm/a?x=y", "pkg:npm/a#b", "pkg:npm/%zz", "pkg:golang/x", "../a", "a/b/c", "@a/b/c", strings.Repeat("a", 300)} {
		if p, err := ParsePattern(s); err == nil {
			t.Errorf("%q is read as %+v", s, p)
		}
	}
}

// TestRefPattern: braces stand for the package's own name and version, stars for anything but a slash.
func TestRefPattern(t *testing.T) {
	id := npm.ID{Name: "@acme/left", Version: "1.2.3"}
	for _, tt := range []struct {
		pattern, ref string
		want         bool
	}{
		{"refs/heads/main", "refs/heads/main", true}, {"refs/heads/main", "refs/heads/main2", false}, {"refs/heads/*", "refs/heads/main", true}, {"refs/heads/*", "refs/heads/a/b", false}, {"refs/heads/**", "refs/heads/a/b", true},
		{"refs/tags/v{version}", "refs/tags/v1.2.3", true}, {"refs/tags/v{version}", "refs/tags/v1.2.4", false}, {"refs/tags/{name}@{version}", "refs/tags/@acme/left@1.2.3", true}, {"refs/tags/{basename}-v{version}", "refs/tags/left-v1.2.3", true},
		{"refs/tags/{basename}-v{version}", "refs/tags/@acme/left-v1.2.3", false}, {"refs/pull/*/merge", "refs/pull/5/merge", true}, {"refs/heads/main", "", false},
	} {
		p, err := ParseRef(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
		} else if got := p.Match(tt.ref, id); got != tt.want {
			t.Errorf("%s matches %s: %t", tt.pattern, tt.ref, got)
		}
	}
	for _, s := range []string{"", "main", "heads/main", "refs/heads/{branch}", "refs/heads/{version", "refs/heads/a b", "refs/" + strings.Repeat("*a", 9), "refs/" + strings.Repeat("a", 500)} {
		if _, err := ParseRef(s); err == nil {
			t.Errorf("%q is read", s)
		}
	}
}

// TestPublisherRules: of several rules for a package any may be met, and each demand of a rule counts.
func TestPublisherRules(t *testing.T) {
	for _, tt := range []struct {
		rule string
		with func(*publisher.Publisher)
		want Level
	}{
		{"repository: acme/left", func(p *publisher.Publisher) {}, Allow},
		{"repository: ACME/Left", func(p *publisher.Publisher) {}, Allow},
		{"repository: 'https://github.com/acme/left.git'", func(p *publisher.Publisher) {}, Allow},
		{"repository: acme/left", func(p *publisher.Publisher) { p.Repository = "https://github.com/acme/left-evil" }, Deny},
		{"repository: acme/left", func(p *publisher.Publisher) { p.Issuer = "https://evil.example" }, Deny},
		{"repository: acme/left, repository_id: 11", func(p *publisher.Publisher) { p.Repository = "https://github.com/acme/renamed" }, Allow},
		{"repository: acme/left, repository_id: 11", func(p *publisher.Publisher) { p.RepositoryID = "12" }, Deny},
		{"owner: acme", func(p *publisher.Publisher) { p.Repository = "https://github.com/acme/right" }, Allow},
		{"owner: acme", func(p *publisher.Publisher) { p.Owner = "https://github.com/acme2" }, Deny},
		{"owner: acme, owner_id: 22", func(p *publisher.Publisher) { p.Owner = "https://github.com/acme2" }, Allow},
		{"owner_id: 22, issuer: 'https://token.actions.githubusercontent.com'", func(p *publisher.Publisher) { p.OwnerID = "23" }, Deny},
		{"repository: acme/left, workflow: .github/workflows/release.yml", func(p *publisher.Publisher) {}, Allow},
		{"repository: acme/left, workflow: .github/workflows/release.yml", func(p *publisher.Publisher) { p.Workflow = ".github/workflows/x.yml" }, Deny},
		{"repository: acme/left, signer_workflow: acme/flows/.github/workflows/p.yml", func(p *publisher.Publisher) {
			p.SignerRepository, p.SignerWorkflow = "https://github.com/acme/flows", ".github/workflows/p.yml"
		}, Allow},
		{"repository: acme/left, signer_workflow: acme/flows/.github/workflows/p.yml", func(p *publisher.Publisher) {}, Deny},
		{"repository: acme/left, ref: 'refs/tags/v{version}'", func(p *publisher.Publisher) { p.Ref = "refs/tags/v1.0.0" }, Allow},
		{"repository: acme/left, ref: ['refs/tags/v{version}', refs/heads/main]", func(p *publisher.Publisher) {}, Allow},
		{"repository: acme/left, ref: 'refs/tags/v{version}'", func(p *publisher.Publisher) { p.Ref = "refs/tags/v1.0.1" }, Deny},
		{"repository: acme/left, event: [push, release]", func(p *publisher.Publisher) {}, Allow},
		{"repository: acme/left, event: release", func(p *publisher.Publisher) {}, Deny},
		{"repository: acme/left, runner: github-hosted", func(p *publisher.Publisher) {}, Allow},
		{"repository: acme/left, runner: github-hosted", func(p *publisher.Publisher) { p.Runner = "self-hosted" }, Deny},
		{"repository: acme/left, environment: npm", func(p *publisher.Publisher) { p.Environment = "npm" }, Allow},
		{"repository: acme/left, environment: npm", func(p *publisher.Publisher) {}, Deny},
		{"repository: gitlab.com/acme/left", func(p *publisher.Publisher) {}, Deny},
		{"repository: gitlab.com/acme/left", func(p *publisher.Publisher) {
			p.Issuer, p.Repository = publisher.GitLabIssuer, "https://gitlab.com/acme/left"
		}, Allow},
	} {
		o := foundAs("provenance")
		tt.with(o.Publisher)
		p := parse(t, "identity: {self-hosted: allow}\npublishers: [{packages: left, "+tt.rule+"}]\n")
		s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: o, Now: now}
		if d, f := p.Decide(s, Filter{}); d != Decision(tt.want) {
			t.Errorf("%s: %s %+v, want %s", tt.rule, d, f, tt.want)
		}
		either := parse(t, "identity: {self-hosted: allow}\npublishers: [{packages: left, repository: nobody/else}, {packages: left, "+tt.rule+"}]\n")
		if d, f := either.Decide(s, Filter{}); d != Decision(tt.want) {
			t.Errorf("%s, or another: %s %+v, want %s", tt.rule, d, f, tt.want)
		}
	}
}
