package policy

import (
	"fmt"
	"strings"
	"testing"

	"assay/internal/npm"
	"assay/internal/verify"
)

const casesPolicy = `critical: [{packages: [react], require: provenance}]
publishers: [{packages: "@acme/*", repository: acme/tools, event: [push, release]}]
min-age: {attested: 24h, unattested: 72h}
downgrade: {line: deny, package: warn}
rules:
- {id: no-fork-pr, when: 'publisher.event == "pull_request"', then: deny, message: built from a pull request}
- {id: shipped, when: 'reach == "called" && verdict == "unsigned"', then: warn}
waivers:
- {package: left-pad@1.3.0, rule: signed, reason: r, by: b, until: 2027-03-01}
- {package: tool, rule: source, reason: r, by: b, until: 2027-03-01}
`

// TestCases: each case is what it says, and what is not is told.
func TestCases(t *testing.T) {
	p := parse(t, casesPolicy)
	for _, tt := range []struct{ text, problem string }{
		{"package: react@19.1.0\n  verdict: signed\n  want: deny\n  rule: critical", ""},
		{"package: react@19.1.0\n  verdict: unchecked\n  want: error\n  rule: [critical, unchecked]", ""},
		{"package: react@19.1.0\n  verdict: invalid\n  want: deny\n  rule: invalid", ""},
		{"package: react@19.1.0\n  publisher: {repository: facebook/react}\n  want: allow", ""},
		{"package: \"@acme/a@1.0.0\"\n  publisher: {repository: acme/tools}\n  want: allow", ""},
		{"package: \"@acme/a@1.0.0\"\n  publisher: {repository: mallory/tools}\n  want: deny\n  rule: publisher", ""},
		{"package: \"@acme/a@1.0.0\"\n  publisher: {repository: acme/tools, event: pull_request}\n  want: deny\n  rule: [publisher, no-fork-pr]", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a}\n  age: 1h\n  want: deny\n  rule: min-age", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a}\n  age: 25h\n  want: allow", ""},
		{"package: a@1.0.0\n  verdict: signed\n  age: 25h\n  want: deny\n  rule: min-age", ""},
		{"package: a@1.0.0\n  verdict: signed\n  age: unknown\n  want: error\n  rule: min-age", ""},
		{"package: a@1.0.1\n  verdict: signed\n  previous: {version: 1.0.0, publisher: {repository: acme/a}}\n  want: deny\n  rule: downgrade-line", ""},
		{"package: a@1.0.0\n  verdict: signed\n  pin:\n    \"1\":\n      floor: signed\n      versions: [1.0.0]\n  age: 1h\n  want: warn\n  rule: signed", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a, repository_id: 1, owner_id: 2}\n  pin:\n    \"1\":\n      floor: provenance\n      publishers:\n      - {issuer: https://token.actions.githubusercontent.com, repository: https://github.com/acme/a, repository_id: 1, owner_id: 2, workflow: .github/workflows/release.yml, ref: refs/heads/main, events: [push], runner: github-hosted}\n  want: allow", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a, repository_id: 9, owner_id: 2}\n  pin:\n    \"1\":\n      floor: provenance\n      publishers:\n      - {issuer: https://token.actions.githubusercontent.com, repository: https://github.com/acme/a, repository_id: 1, owner_id: 2, workflow: .github/workflows/release.yml, ref: refs/heads/main, events: [push], runner: github-hosted}\n  want: deny\n  rule: drift", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a}\n  pin: none\n  want: warn\n  rule: unpinned", ""},
		{"package: a@1.0.0\n  verdict: unsigned\n  registry-signs: false\n  reach: called\n  want: warn\n  rule: shipped", ""},
		{"package: left-pad@1.3.0\n  verdict: signed\n  want: allow\n  rule: signed", ""},
		{"package: tool\n  source: git\n  want: allow", ""},
		{"package: other\n  source: git\n  want: warn\n  rule: source", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a}\n  bound: none\n  want: warn\n  rule: unbound", ""},
		{"package: a@1.0.0\n  publisher: {repository: acme/a}\n  repository-absent: true\n  want: warn\n  rule: identity-unchecked", ""},
		{"package: react@19.1.0\n  verdict: signed\n  want: allow", "want allow, and it is deny by critical (provenance is required, and it is signed)"},
		{"package: react@19.1.0\n  verdict: signed\n  want: deny\n  rule: drift", "want deny by drift, and it is deny by critical (provenance is required, and it is signed)"},
		{"package: a@1.0.0\n  publisher: {repository: acme/a}\n  want: deny", "want deny, and it is allow"},
	} {
		c, err := ParseCases([]byte("version: 1\nnow: 2026-11-25T12:00:00Z\ncases:\n- "+tt.text+"\n"), CasesFile)
		if err != nil {
			t.Errorf("%v\n%s", err, tt.text)
			continue
		}
		r := c.Run(p, now)[0]
		if r.Problem != tt.problem {
			t.Errorf("%s\nproblem %q, want %q; %s %+v", tt.text, r.Problem, tt.problem, r.Got, r.Findings)
		}
	}
	for _, tt := range []struct{ text, wantErr string }{
		{"", "the file is empty"},
		{"version: 1\n", "`cases:` is missing"},
		{"cases: []\n", "`version: 1` is missing"},
		{"version: 1\nnow: today\ncases: []\n", "is not a time"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: signed}]\n", "assay.test.yaml:2:9: `want:` is missing"},
		{"version: 1\ncases: [{package: a, verdict: signed, want: deny}]\n", "has to be name@version"},
		{"version: 1\ncases: [{package: a@1, verdict: signed, want: deny}]\n", "is not MAJOR.MINOR.PATCH"},
		{"version: 1\ncases: [{package: A B@1.0.0, verdict: signed, want: deny}]\n", "package name"},
		{"version: 1\ncases: [{verdict: signed, want: deny}]\n", "`package:` is missing"},
		{"version: 1\ncases: [{package: a@1.0.0, want: deny}]\n", "`verdict:` is missing"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: provenance, want: deny}]\n", "`publisher:` is missing"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: signed, publisher: {repository: a/b}, want: deny}]\n", "only provenance has a publisher"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: signed, want: maybe}]\n", "is not a decision"},
		{"version: 1\ncases: [{package: a@1.0.0, verdct: signed, want: deny}]\n", "did you mean verdict?"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: signed, direct: yes, want: deny}]\n", "expected true or false"},
		{"version: 1\ncases: [{pin: {\"1\": {floor: signed}}, package: a@1.0.0, verdict: signed, want: deny}]\n", "has to stand above"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: signed, pin: {\"1\": {flor: signed}}, want: deny}]\n", "did you mean floor?"},
		{"version: 1\ncases: [{package: a@1.0.0, verdict: signed, previous: {version: 0.9.0}, want: deny}]\n", "`verdict:` of the version before"},
		{"version: 1\ncases: [{package: a@1.0.0, publisher: {workflow: a}, want: deny}]\n", "`repository:` is missing"},
	} {
		if _, err := ParseCases([]byte(tt.text), CasesFile); err == nil || !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s: error %v, want %q", tt.text, err, tt.wantErr)
		}
	}
}

func FuzzParseCases(f *testing.F) {
	f.Add([]byte("version: 1\ncases:\n- {package: a@1.0.0, publisher: {repository: a/b}, pin: {\"1\": {floor: signed}}, previous: {version: 0.9.0, verdict: signed}, age: 1h, want: allow, rule: x}\n"))
	f.Add([]byte("version: 1\ncases:\n- {package: a, source: git, want: warn}\n- {package: a@1.0.0, pin: none, verdict: invalid, want: deny}\n"))
	p := parse(f, casesPolicy)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCases(data, CasesFile)
		if err != nil {
			return
		}
		for _, r := range c.Run(p, now) {
			if r.Problem == "" && r.Got != r.Case.Want {
				t.Errorf("%q: %s, and no problem", data, r.Got)
			}
		}
	})
}

// TestExplain: everything that spoke is in an explanation, with its place, and so is why the rest did not; and it decides as
// Decide does.
func TestExplain(t *testing.T) {
	p := parse(t, casesPolicy)
	s := &Subject{ID: npm.ID{Name: "react", Version: "19.1.0"}, Outcome: outcome(verify.Signed), Now: now, Lock: lockedAs("not pinned"), Path: []string{"app", "react"}, Direct: true, History: &History{Versions: []Version{{Version: "19.1.0", Time: now.AddDate(-1, 0, 0)}}}}
	d, findings, looks := p.Explain(s, Filter{})
	if again, other := p.Decide(s, Filter{}); d != again || fmt.Sprint(findings) != fmt.Sprint(other) {
		t.Errorf("%s %v, decided %s %v", d, findings, again, other)
	}
	said := map[string]string{}
	for _, l := range looks {
		said[l.Rule] += fmt.Sprintf("%s|%s|%s:%d\n", l.Level, l.Text, l.File, l.Line)
	}
	for rule, want := range map[string]string{
		"critical": "deny|provenance is required, and it is signed|p.yaml:2", "signed": "warn|the registry signed it", "unpinned": "warn|assay.lock says nothing of it", "publisher": "|none of 1 entries names it|:0",
		"drift": "|it is not pinned|", "downgrade-line": "|nothing before it that counts had provenance|p.yaml:5", "min-age": "|it is 365d old, and has to be 3d|p.yaml:4", "no-fork-pr": `publisher.event == "pull_request" is false, with publisher.event ""|p.yaml:7`,
		"shipped": `is false, with verdict "signed", reach unknown|p.yaml:8`, "ratchet": "the policy names no base", "burst": "its level is allow", "unbound": "",
	} {
		if !strings.Contains(said[rule], want) || said[rule] == "" {
			t.Errorf("%s says %q, want %q", rule, said[rule], want)
		}
	}
	for _, f := range findings {
		if !strings.Contains(said[f.Rule], f.Message) {
			t.Errorf("%s is not explained", f.Rule)
		}
	}
	waived := &Subject{ID: npm.ID{Name: "left-pad", Version: "1.3.0"}, Outcome: outcome(verify.Signed), Now: now}
	_, _, looks = p.Explain(waived, Filter{})
	if l := looks[len(looks)-1]; l.Rule != "waiver" || l.Text != "signed is waived by b until 2027-03-01" || l.Line != 10 {
		t.Errorf("%+v", l)
	}
	// Whatever is decided about, all of its findings are explained, and nothing breaks.
	for _, evidence := range evidences {
		for _, pin := range []string{"no lock", "not pinned", "pinned", "other line", "weak", "signed", "unsigned"} {
			s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: foundAs(evidence), Now: now, Lock: lockedAs(pin)}
			for _, text := range []string{"", casesPolicy, "mode: observe\nburst: deny\nmanifest-change: deny\n"} {
				_, findings, looks := parse(t, text).Explain(s, Filter{})
				for _, f := range findings {
					found := false
					for _, l := range looks {
						found = found || l.Rule == f.Rule && l.Text == f.Message
					}
					if !found {
						t.Errorf("%s, %s: %+v is not in %+v", evidence, pin, f, looks)
					}
				}
			}
		}
	}
}

// TestDoubts: what is read and may not be meant is told.
func TestDoubts(t *testing.T) {
	for _, tt := range []struct{ policy, want string }{
		{"", ""},
		{"default: {unsigned: warn, signed: deny}\n", "2 unsigned is warn and signed deny"},
		{"default: {unchecked: warn}\n", "2 unchecked is warn"},
		{"default: {unchecked: warn, unsigned: warn}\n", ""},
		{"mode: observe\ndefault: {unchecked: warn}\n", ""},
		{"waivers: [{package: a, rule: drift, reason: r, by: b, until: 2026-11-24}]\n", "2 the waiver of drift for a ended on 2026-11-24"},
		{"waivers: [{package: a, rule: drift, reason: r, by: b, until: 2026-11-28}]\n", "2 the waiver of drift for a ends on 2026-11-28"},
		{"waivers: [{package: a, rule: drift, reason: r, by: b, until: 2027-11-28}]\n", ""},
		{"publishers: [{packages: a, repository: b/c}]\n", "2 the publisher has a name and no id"},
		{"publishers: [{packages: a, repository: b/c, repository_id: 1}]\n", ""},
	} {
		got := ""
		for _, d := range parse(t, tt.policy).Doubts(now) {
			got += fmt.Sprintf("%d %s\n", d.Line, d.Text)
		}
		if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.policy, got, tt.want)
		}
	}
}
