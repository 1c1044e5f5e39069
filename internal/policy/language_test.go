package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

// parse reads a policy whose first line is its version.
func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte("version: 1\n"+text), "p.yaml", nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// refusals are policies behind their version, and what is wrong with them.
var refusals = []struct{ name, in, wantErr string }{
	{"anchor in a list of packages", "critical: [{packages: [&a react], require: provenance}]\n", "p.yaml:2:24: anchors"},
	{"alias in a list of packages", "critical: [{packages: [react, *a], require: provenance}]\n", "anchor"},
	{"anchor at the root", "&a\nmode: observe\n", "p.yaml:"},
	{"anchor on a text", "mode: &m observe\n", "p.yaml:2:7: anchors"},
	{"anchor on a key", "&m mode: observe\n", "anchors"},
	{"alias as a key", "mode: &m observe\n*m : deny\n", "anchors"},
	{"merge key", "drift: deny\n<<: {burst: deny}\n", `"<<"`},
	{"merge of an alias", "default: &a {}\nsources: {<<: *a}\n", "anchors"},
	{"binary", "mode: !!binary b2JzZXJ2ZQ==\n", "p.yaml:2:7: the tag !!binary"},
	{"text by tag", "mode: !!str observe\n", "tags are not used"},
	{"own tag", "default: !x {signed: deny}\n", "tags are not used"},
	{"tagged key", "!!str mode: observe\n", "tags are not used"},
	{"list as a key", "? [a]\n: b\n", "a key has to be a text"},
	{"null key", "~: b\n", "a key has to be a text"},
	{"number as a key", "1: b\n", `unknown key "1"`},
	{"truth for a text", "rules: [{id: r, when: 'true', then: deny, message: true}]\n", `write "true" in quotes`},
	{"bare truth for an expression", "rules: [{id: r, when: true, then: deny}]\n", `write "true" in quotes`},
	{"number for a text", "publishers: [{packages: x, repository: a/b, environment: 1.0}]\n", `p.yaml:2:58: write "1.0" in quotes`},
	{"old truth for a text", "publishers: [{packages: x, repository: a/b, event: on}]\n", `write "on" in quotes`},
	{"day for a text", "waivers: [{package: a, rule: drift, reason: 2026-01-01, by: b, until: 2027-01-01}]\n", `write "2026-01-01" in quotes`},
	{"null for a text", "ratchet: {base: ~}\n", "expected a text"},
	{"null section", "default:\n", "expected keys and values"},
	{"null list", "critical:\n", "expected a list"},
	{"null level", "drift:\n", "is not a level"},
	{"truth for a level", "drift: no\n", `"no" is not a level`},
	{"octal id", "publishers: [{packages: x, repository_id: 0123, issuer: https://gitlab.com}]\n", "is no id"},
	{"hexadecimal id", "publishers: [{packages: x, repository_id: 0x1f, issuer: https://gitlab.com}]\n", "is no id"},
	{"id with a mark", "publishers: [{packages: x, repository_id: 1_000, issuer: https://gitlab.com}]\n", "is no id"},
	{"id as a float", "publishers: [{packages: x, repository_id: 1e3, issuer: https://gitlab.com}]\n", "is no id"},
	{"publisher that is nobody", "publishers: [{packages: x, workflow: .github/workflows/a.yml}]\n", "who publishes is missing"},
	{"id without its issuer", "publishers: [{packages: x, repository_id: 1}]\n", "`issuer:` is missing"},
	{"absolute workflow", "publishers: [{packages: x, repository: a/b, workflow: /a.yml}]\n", "write its path"},
	{"short ref", "publishers: [{packages: x, repository: a/b, ref: main}]\n", "write it in full"},
	{"unknown brace", "publishers: [{packages: x, repository: a/b, ref: 'refs/tags/{tag}'}]\n", "known in braces"},
	{"many stars", "critical: [{packages: ['*a*a*a*a*a*a*a*a*a'], require: signed}]\n", "more than 8 stars"},
	{"range", "critical: [{packages: [react@^18.0.0], require: signed}]\n", "ranges and tags are not known"},
	{"tag for a version", "critical: [{packages: [react@latest], require: signed}]\n", "ranges and tags are not known"},
	{"version cut short", "critical: [{packages: [react@18], require: signed}]\n", "neither one version"},
	{"version with x", "critical: [{packages: [react@18.x], require: signed}]\n", "neither one version"},
	{"v before a version", "critical: [{packages: [react@v18.*], require: signed}]\n", "is not a pattern of versions"},
	{"foreign purl", "critical: [{packages: ['pkg:pypi/react'], require: signed}]\n", "purl of an npm package"},
	{"purl with a qualifier", "critical: [{packages: ['pkg:npm/react?a=b'], require: signed}]\n", "purl of an npm package"},
	{"no package", "critical: [{packages: [], require: signed}]\n", "expected packages here"},
	{"critical of unsigned", "critical: [{packages: x, require: unsigned}]\n", "is not a verdict that can be required"},
	{"unchecked let through", "default: {unchecked: allow}\n", "p.yaml:2: unchecked cannot be allow"},
	{"unchecked noted", "default: {unchecked: note}\n", "unchecked cannot be note"},
	{"duration without a unit", "min-age: {attested: 24, unattested: 72}\n", "is not a duration"},
	{"duration with a fraction", "min-age: 1.5h\n", "is not a duration"},
	{"duration beyond all bounds", "min-age: 99999999d\n", "is not a duration"},
	{"attested longer than not", "min-age: {attested: 72h, unattested: 24h}\n", "would have to wait longer (3d)"},
	{"quiet twice", "downgrade: {quiet-after: 1d, ignore-after: 2d}\n", "two words for one thing"},
	{"pnpm's unknown word", "downgrade: no-downgrad\n", "did you mean no-downgrade?"},
	{"waiver of no rule", "waivers: [{package: a, rule: critcal, reason: r, by: b, until: 2027-01-01}]\n", `p.yaml:2: the waiver is of "critcal", and there is no such rule; did you mean critical?`},
	{"waiver of a section with several rules", "waivers: [{package: a, rule: downgrade, reason: r, by: b, until: 2027-01-01}]\n", "did you mean downgrade-line or downgrade-package?"},
	{"at sign without quotes", "critical:\n- {packages: [@acme/x], require: signed}\n", "p.yaml:3: this is not YAML: found character that cannot start any token; what begins with @ or ` has to be in quotes"},
	{"star without quotes", "critical:\n- packages: *\n  require: signed\n", "what begins with * or & has to be in quotes"},
	{"star before a name without quotes", "critical:\n- packages: *-loader\n  require: signed\n", "what begins with * or & has to be in quotes"},
	{"an owner for a repository", "publishers: [{packages: x, repository: acme}]\n", "repository \"acme\": write OWNER/NAME"},
	{"a host for a repository", "publishers: [{packages: x, repository: gitlab.com/acme}]\n", "write OWNER/NAME"},
	{"waiver for ever", "waivers: [{package: a, rule: drift, reason: r, by: b}]\n", "`until:` is missing"},
	{"waiver until no day", "waivers: [{package: a, rule: drift, reason: r, by: b, until: 2027-02-30}]\n", "is not a day"},
	{"waiver of waivers", "waivers: [{package: a, rule: waiver-expired, reason: r, by: b, until: 2027-02-03}]\n", "cannot be waived"},
	{"waiver of invalid for all versions", "waivers: [{package: a, rule: invalid, reason: r, by: b, until: 2027-02-03, sha512: " + sri("a") + "}]\n", "has to name one version"},
	{"waiver of invalid for any bytes", "waivers: [{package: a@1.0.0, rule: invalid, reason: r, by: b, until: 2027-02-03}]\n", "has to name one version"},
	{"waiver of a hex hash", "waivers: [{package: a@1.0.0, rule: invalid, reason: r, by: b, until: 2027-02-03, sha512: abcdef}]\n", "is not one sha512"},
	{"rule with a built-in id", "rules: [{id: drift, when: 'true', then: deny}]\n", "is a built-in rule's"},
	{"rule twice", "rules: [{id: a, when: 'true', then: deny}, {id: a, when: 'true', then: deny}]\n", "stands twice"},
	{"rule with a shouting id", "rules: [{id: A, when: 'true', then: deny}]\n", "lower-case words"},
	{"extends where nothing can be read", "extends: base.yaml\n", "cannot extend"},
	{"ratchet without base", "ratchet: {level: warn}\n", "`base:` is missing"},
	{"issuer without TLS", "issuers: [http://gitlab.example]\n", "is not the https URL"},
	{"misspelt section", "manifest-chagne: warn\n", "did you mean manifest-change?"},
	{"misspelt key of a rule", "rules: [{id: r, wehn: 'true', then: deny}]\n", `p.yaml:2:17: unknown key "wehn"; did you mean when?`},
	{"misspelt level", "drift: dney\n", "did you mean deny?"},
	{"error of what is known", "drift: error\n", `"error" is not a level; known are allow, note, warn, deny`},
	{"a level of unchecked", "default: {unchecked: {level: maybe}}\n", "known are allow, note, warn, deny, error"},
	{"misspelt mode", "mode: observ\n", "did you mean observe?"},
	{"deep", "a: " + strings.Repeat("[", 20) + strings.Repeat("]", 20) + "\n", "nested too deeply"},
	{"not UTF-8", "mode: obs\xffrve\n", "p.yaml:2:10: this is not UTF-8"},
	{"control character", "mode: \"a\x01\"\n", "control characters"},
	{"tab for an indent", "default:\n\tsigned: warn\n", "p.yaml:"},
	{"second document", "...\n---\nversion: 1\n", "more than one YAML document"},
	{"rubbish behind the end", "...\n]\n", "p.yaml:"},
}

// TestParseRefuses: of YAML only what everybody reads alike is left, and what could not do what it says is an error
// with its place.
func TestParseRefuses(t *testing.T) {
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte("version: 1\n"+tt.in), "p.yaml", nil)
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if s := new(SyntaxError); err != nil && !errors.As(err, &s) {
				t.Errorf("%T has no place", err)
			}
		})
	}
	for _, in := range []string{"version: 1.0\n", "version: '1'\n", "version: 01\n", "version: true\n", "version: 0x1\n", "version: !!int 1\n", "version:\n", "version: [1]\n", "\xff\xfev\x00", "version: 1\nversion: 1\n"} {
		if _, err := Parse([]byte(in), "p.yaml", nil); err == nil {
			t.Errorf("%q is read", in)
		}
	}
}

// whole is a policy with every section.
const whole = `version: 1
mode: enforce            # observe: rule denials become warnings (staged roll-out); sections may carry their own mode
default: {invalid: deny, unchecked: error, unsigned: deny, signed: warn}
critical:                # provenance required, hard fail
  - {packages: [react, react-dom, typescript, vite, esbuild, "@babel/*"], require: provenance}
publishers:              # pin by rule, beside assay.lock
  - packages: ["@sigstore/*"]
    repository: sigstore/sigstore-js     # + repository_id when known
    workflow: .github/workflows/release.yml
    ref: [refs/heads/main, "refs/tags/v{version}"]
    event: [push, workflow_dispatch]
    runner: github-hosted
identity: {no-repository: warn, self-hosted: warn, unpinned: warn}
drift: deny
downgrade: {line: deny, package: warn, quiet-after: 30d}
min-age: {attested: 24h, unattested: 72h, except: [advisory-fix]}
manifest-change: warn
burst: warn
sources: {git: warn, url: deny, file: allow, other-host: deny}
unbound: warn
expired-key: note
issuers: []
registries: {}
rules:
  - {id: no-fork-pr, when: 'publisher.event == "pull_request"', then: deny, message: built from a pull request}
waivers:
  - {package: left-pad@1.3.0, rule: critical, reason: "…", by: sec-team, until: 2027-03-01}
ratchet: {base: origin/main}
`

// TestWhole: each section of a whole policy is as written.
func TestWhole(t *testing.T) {
	p, err := Parse([]byte(whole), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	pub := p.Publishers[0]
	switch {
	case p.Mode != Enforce, len(p.Critical[0].Packages) != 6, p.Critical[0].Line != 5, pub.Repository != "https://github.com/sigstore/sigstore-js", pub.Issuer != "https://token.actions.githubusercontent.com", len(pub.Refs) != 2, len(pub.Events) != 2,
		p.Identity.SelfHosted.Level != Warn, p.Drift != Setting{Deny, Place{"assay.yaml", 14}, ""}, p.Downgrade.QuietAfter != 30*24*time.Hour, p.MinAge.Attested != 24*time.Hour, !p.MinAge.AdvisoryFix, p.ManifestChange.Level != Warn, p.Burst.Level != Warn,
		p.Sources.OtherHost.Level != Deny, p.ExpiredKey.Level != Note, p.Rules[0].ID != "no-fork-pr", p.Waivers[0].Until.Format(time.DateOnly) != "2027-03-01", p.Ratchet.Base != "origin/main", p.Ratchet.Level != Deny:
		t.Errorf("%+v", p)
	}
	if d, findings := p.Decide(&Subject{ID: npm.ID{Name: "@babel/core", Version: "7.0.0"}, Outcome: outcome(verify.Signed), Now: now, History: &History{Versions: []Version{{Version: "7.0.0", Time: now.AddDate(-1, 0, 0)}}}, Base: &Base{}}, Filter{}); d != Decision(Deny) || findings[1].Rule != "critical" || findings[1].File != "assay.yaml" || findings[1].Line != 5 {
		t.Errorf("%s %+v", d, findings)
	}
}

// acceptable are policies behind their version.
var acceptable = []string{
	strings.TrimPrefix(whole, "version: 1\n"), Recommended()[len("version: 1\n"):],
	"downgrade: off\n", "downgrade: no-downgrade\n", "min-age: 24h\n", "min-age: 0\n", "min-age: \"24h\"\n",
	"critical: [{packages: react, require: provenance}]\n", "critical:\n- packages:\n  - react\n  require: signed\n",
	"publishers: [{packages: x, repository_id: \"12\", issuer: https://gitlab.com}]\n",
	"publishers: [{packages: x, repository_id: 12, issuer: https://gitlab.com, environment: \"1.0\"}]\n",
	"publishers: [{packages: x, owner: acme}]\n",
	"waivers: [{package: a, rule: drift, reason: \"2026\", by: b, until: 2027-01-01}]\n",
	"waivers: [{package: a, rule: drift, reason: r, by: b, until: \"2027-01-01\"}]\n",
	"default: {signed: {level: warn, mode: observe}, mode: enforce}\n", "\"mode\": observe\n", "rules: []\n", "registries: {}\n",
	"critical: [{packages: ['pkg:npm/%40babel/core@7.24.0', 'pkg:npm/react', 'pkg:npm/%40babel/*', '**', '*', 'react@18.*', 'react@*', 'React'], require: signed}]\n",
}

// TestParseAccepts: what people write and means what it says.
func TestParseAccepts(t *testing.T) {
	for _, in := range acceptable {
		if _, err := Parse([]byte("version: 1\n"+in), "p.yaml", nil); err != nil {
			t.Errorf("%v\n%s", err, in)
		}
		crlf := strings.ReplaceAll("version: 1\n"+in, "\n", "\r\n")
		if _, err := Parse([]byte(crlf), "p.yaml", nil); err != nil {
			t.Errorf("with CRLF: %v\n%s", err, in)
		}
	}
	if _, err := Parse([]byte("\ufeffversion: 1\nmode: observe\n"), "p.yaml", nil); err != nil {
		t.Errorf("with a byte order mark: %v", err)
	}
}

// TestParseIsBounded: no policy takes long to be refused or read.
func TestParseIsBounded(t *testing.T) {
	const n = 1 << 20
	fill := func(s string, head string) string {
		return "version: 1\n" + head + strings.Repeat(s, (n-len(head)-20)/len(s)) + "\n"
	}
	for name, in := range map[string]string{
		"brackets": fill("[", ""), "braces": fill("{", "a: "), "dashes": fill("- ", ""), "questions": fill("? ", ""), "keys": fill("a: b\n", ""),
		"comments": fill("#\n", ""), "anchors": fill("- &a x\n", "rules:\n"), "aliases": fill("- *a\n", "a: &a x\nrules:\n"), "laughs": laughs(), "empty": fill(" ", ""),
		"rules":     rulesOf(4000, "verdict == \"signed\" && pkg.name.startsWith(\"evil\")"),
		"long ones": rulesOf(250, "pkg.name == \"a\""+strings.Repeat(" || pkg.name.matches(\"a.*b.*c\")", 110)),
		"open":      rulesOf(250, strings.Repeat("(", 4000)),
		"lists":     rulesOf(200, strings.Repeat("[", 1900)+strings.Repeat("]", 1900)),
		"waivers":   fill("- {package: a, rule: drift, reason: r, by: b, until: 2027-01-01}\n", "waivers:\n"),
		"too large": fill("a", "") + fill("a", ""),
	} {
		start := time.Now()
		_, err := Parse([]byte(in), "p.yaml", nil)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: %v", name, d)
		} else {
			t.Logf("%-10s %8d bytes %10v %.100v", name, len(in), d.Round(time.Millisecond), err)
		}
	}
}

func laughs() string {
	var b strings.Builder
	b.WriteString("version: 1\na0: &a0 [x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	return b.String()
}

func rulesOf(n int, when string) string {
	var b strings.Builder
	b.WriteString("version: 1\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {id: r%d, when: '%s', then: deny}\n", i, when)
	}
	return b.String()
}

func sri(seed string) string {
	in, err := npm.ParseIntegrity("sha512-" + strings.Repeat("A", 84) + seed[:1] + "Q==")
	if err != nil {
		panic(err)
	}
	return in.String()
}

// TestExpressionPositions: whatever way an expression is written in, its mistakes are where a person sees them.
func TestExpressionPositions(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "rules:\n- id: r\n  then: deny\n  when: direct && drect\n", "p.yaml:5:19:"},
		{"single quotes", "rules:\n- id: r\n  then: deny\n  when: 'direct && drect'\n", "p.yaml:5:20:"},
		{"double quotes", "rules:\n- id: r\n  then: deny\n  when: \"pkg.name == \\\"a\\\" && drect\"\n", "p.yaml:5:31:"},
		{"doubled quotes", "rules:\n- id: r\n  then: deny\n  when: 'pkg.name == ''a'' && drect'\n", "p.yaml:5:31:"},
		{"escapes", "rules:\n- id: r\n  then: deny\n  when: \"pkg.name == '\\x61\\u0062' && drect\"\n", "p.yaml:5:38:"},
		{"literal", "rules:\n- id: r\n  then: deny\n  when: |\n    direct &&\n      drect\n", "p.yaml:7:7:"},
		{"literal after empty lines", "rules:\n- id: r\n  then: deny\n  when: |\n\n\n    direct &&\n    drect\n", "p.yaml:9:5:"},
		{"literal with an indent and a comment", "rules:\n- id: r\n  then: deny\n  when: |2- # so\n       drect\n", "p.yaml:6:8:"},
		{"folded", "rules:\n- id: r\n  then: deny\n  when: >-\n    direct &&\n    dev &&\n    drect\n", "p.yaml:8:5:"},
		{"plain on two lines", "rules:\n- id: r\n  then: deny\n  when: direct &&\n    drect\n", "p.yaml:6:5:"},
		{"single quotes on three lines", "rules:\n- id: r\n  then: deny\n  when: 'direct &&\n\n    drect'\n", "p.yaml:7:5:"},
		{"double quotes with an escaped end of line", "rules:\n- id: r\n  then: deny\n  when: \"direct \\\n    && drect\"\n", "p.yaml:6:8:"},
		{"flow", "rules: [{id: r, then: deny, when: 'direct && drect'}]\n", "p.yaml:2:46:"},
		{"letters of several bytes", "rules: [{id: r, then: deny, when: 'pkg.name == \"äöü\" && drect'}]\n", "p.yaml:2:57:"},
		{"CRLF", "rules:\r\n- id: r\r\n  then: deny\r\n  when: |\r\n    direct &&\r\n    drect\r\n", "p.yaml:7:5:"},
		{"the end", "rules:\n- id: r\n  then: deny\n  when: 'direct &&'\n", "p.yaml:5:19:"},
		{"the whole", "rules:\n- id: r\n  then: deny\n  when: 'pkg.name'\n", "p.yaml:5:10:"},
		{"a bad pattern", "rules:\n- id: r\n  then: deny\n  when: 'pkg.name.matches(\"(\")'\n", "p.yaml:5:10:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte("version: 1\n"+tt.in), "p.yaml", nil)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want+" in `when:`") {
				t.Errorf("error %v, want it at %s", err, tt.want)
			}
		})
	}
}

// TestExtends: what a file extends comes first. Single settings are overridden, the lists that stand by themselves added
// to, and each finding names the file that it is from.
func TestExtends(t *testing.T) {
	files := map[string]string{
		"base.yaml": "version: 1\nmode: observe\ndrift: warn\ndefault: {signed: deny, unsigned: warn}\ncritical: [{packages: [react], require: provenance}]\n" +
			"min-age: {attested: 1h, unattested: 2h, except: [left]}\nwaivers: [{package: x, rule: own, reason: r, by: b, until: 2027-01-01}]\nsources: {mode: observe, git: deny}\n",
		"policies/team.yaml": "version: 1\nextends: ../base.yaml\ndrift: note\ndowngrade: {exclude: [a]}\n",
		"loop.yaml":          "version: 1\nextends: ./loop.yaml\n",
		"long0.yaml":         "version: 1\n",
		"broken.yaml":        "version: 1\ndrift: no\n",
		"unversioned.yaml":   "drift: deny\n",
	}
	for i := 1; i < 9; i++ {
		files[fmt.Sprintf("long%d.yaml", i)] = fmt.Sprintf("version: 1\nextends: long%d.yaml\n", i-1)
	}
	read := func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, fs.ErrNotExist
	}
	own := "version: 1\nextends: policies/team.yaml\nmode: enforce\ndefault: {signed: warn}\nmin-age: {except: [advisory-fix]}\ncritical: [{packages: [vite], require: signed}]\nsources: {git: warn}\nrules: [{id: own, when: 'true', then: note}]\n"
	p, err := Parse([]byte(own), "assay.yaml", read)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case p.Mode != Enforce:
		t.Error("the mode is not overridden")
	case p.Drift != Setting{Note, Place{"policies/team.yaml", 3}, ""}:
		t.Errorf("drift %+v", p.Drift)
	case p.Default.Signed != Setting{Warn, Place{"assay.yaml", 4}, ""}, p.Default.Unsigned != Setting{Warn, Place{"base.yaml", 4}, ""}:
		t.Errorf("default %+v", p.Default)
	case len(p.Critical) != 2 || p.Critical[0].File != "base.yaml" || p.Critical[1].File != "assay.yaml":
		t.Errorf("critical %+v", p.Critical)
	case p.MinAge.Attested != time.Hour || p.MinAge.Unattested != 2*time.Hour || !p.MinAge.AdvisoryFix || len(p.MinAge.Except) != 0 || p.MinAge.File != "assay.yaml":
		t.Errorf("min-age %+v", p.MinAge)
	case len(p.Downgrade.Exclude) != 1 || p.Downgrade.Line.File != "policies/team.yaml":
		t.Errorf("downgrade %+v", p.Downgrade)
	case p.Sources.Git != Setting{Warn, Place{"assay.yaml", 7}, ""} || p.Sources.URL.Mode != Observe:
		t.Errorf("sources %+v", p.Sources)
	case len(p.Waivers) != 1 || p.Waivers[0].File != "base.yaml":
		t.Errorf("waivers %+v", p.Waivers)
	}
	for name, want := range map[string]string{
		"loop.yaml":          "loop.yaml:2:10: loop.yaml extends itself",
		"long8.yaml":         "more than 5 files extend one another",
		"/etc/passwd":        "is not a file name relative to this file",
		"https://a.example":  "is not a file name relative to this file",
		`a\b.yaml`:           "is not a file name relative to this file",
		"missing.yaml":       "assay.yaml:2: extending missing.yaml: file does not exist",
		"broken.yaml":        "broken.yaml:2:8: \"no\" is not a level",
		"unversioned.yaml":   "unversioned.yaml:1:1: `version: 1` is missing",
		"assay.yaml":         "extends itself",
		"./x/../assay.yaml":  "extends itself",
		"[base.yaml, a.yml]": "expected a text here",
	} {
		if _, err := Parse([]byte("version: 1\nextends: "+name+"\n"), "assay.yaml", read); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
}

// TestModes: a section's mode is that of all its levels which have none of their own, written or not.
func TestModes(t *testing.T) {
	for _, tt := range []struct {
		policy string
		source string
		want   Level
	}{
		{"sources: {mode: observe}\n", "url", Warn},
		{"sources: {mode: observe, url: deny}\n", "url", Warn},
		{"sources: {mode: observe, url: {level: deny, mode: enforce}}\n", "url", Deny},
		{"mode: observe\nsources: {url: {level: deny, mode: enforce}}\n", "url", Deny},
		{"mode: observe\nsources: {mode: enforce}\n", "url", Deny},
		{"mode: observe\n", "url", Warn},
		{"mode: observe\n", "unknown", Error},
		{"mode: observe\n", "nonsense", Deny},
	} {
		if d, f := parse(t, tt.policy).DecideSource(Dependency{Source: tt.source, Now: now}); d != Decision(tt.want) {
			t.Errorf("%q, %s: %s, want %s: %+v", tt.policy, tt.source, d, tt.want, f)
		}
	}
}

// TestUnknown: what is not known makes a rule that depends on it an error, and never a silent false.
func TestUnknown(t *testing.T) {
	attested := func(s *Subject) {}
	unchecked := func(s *Subject) { s.Outcome = outcome(verify.Unchecked) }
	history := func(versions ...Version) func(*Subject) {
		return func(s *Subject) {
			s.History = &History{Versions: append(versions, Version{Version: "1.0.0", Time: now.Add(-time.Hour)})}
		}
	}
	pins := func(pins ...Pinned) func(*Subject) {
		return func(s *Subject) {
			s.Lock = &Lock{File: "assay.lock", Pins: map[string][]Pin{"left": {{Line: "1", Floor: verify.Provenance, Publishers: pins}}}}
		}
	}
	old := Version{Version: "0.9.0", Time: now.Add(-100 * time.Hour), Verdict: verify.Provenance, Publisher: acme()}
	unseen := Version{Version: "0.9.0", Time: now.Add(-100 * time.Hour), Announced: true}
	none := Version{Version: "0.9.0", Time: now.Add(-100 * time.Hour)}
	for _, tt := range []struct {
		when string
		with func(*Subject)
		want Level // of the rule: warn if it speaks
	}{
		{`publisher.event == "pull_request"`, unchecked, Error},
		{`publisher.event == "pull_request"`, attested, Allow},
		{`publisher.exists`, unchecked, Error},
		{`!publisher.exists`, func(s *Subject) { s.Outcome = outcome(verify.Signed) }, Warn},
		{`verdict == "provenance" && publisher.event == "pull_request"`, unchecked, Allow},
		{`publisher.event == "pull_request" && verdict == "provenance"`, unchecked, Allow},
		{`verdict == "unchecked" || publisher.event == "pull_request"`, unchecked, Warn},
		{`verdict == "provenance" ? publisher.event == "x" : false`, unchecked, Allow},
		{`publisher.event.startsWith("pull")`, unchecked, Error},
		{`publisher.event in ["push"]`, unchecked, Error},
		{`["push"].exists(e, e == publisher.event)`, unchecked, Error},
		{`reach == "called"`, attested, Error},
		{`reach == "called"`, func(s *Subject) { s.Reach = "called" }, Warn},
		{`direct`, attested, Error},
		{`direct || dev`, func(s *Subject) { s.Outcome.Locked = true }, Allow},
		{`path.exists(p, p == "app")`, attested, Error},
		{`path.exists(p, p == "app")`, func(s *Subject) { s.Path = []string{"app", "left"} }, Warn},
		{`path.exists(p, p == "mid")`, func(s *Subject) { s.Path = []string{"app", "…", "left"} }, Error},
		{`path.exists(p, p == "x")`, func(s *Subject) { s.Path = make([]string, 201) }, Error},
		{`size(path) == 0`, func(s *Subject) { s.Outcome.Locked = true }, Warn},
		{`pkg.age < duration("48h")`, attested, Error},
		{`pkg.age < duration("48h")`, history(), Warn},
		{`pkg.age < duration("48h")`, func(s *Subject) { s.Outcome.Published = now.Add(-time.Hour) }, Warn},
		{`pkg.age > duration("48h")`, func(s *Subject) { s.Outcome.Published = now.Add(-time.Hour) }, Allow},
		{`pkg.age < duration("48h")`, func(s *Subject) { s.History = &History{Problem: "it is down"} }, Error},
		{`previous.exists`, attested, Error},
		{`previous.exists`, func(s *Subject) { s.History = &History{Problem: "it is down"} }, Error},
		{`previous.exists`, func(s *Subject) { s.History = &History{Versions: []Version{old}} }, Error},
		{`previous.exists`, history(), Allow},
		{`previous.exists`, history(old), Warn},
		{`previous.verdict == "provenance"`, history(old), Warn},
		{`previous.verdict == "provenance"`, history(unseen), Error},
		{`previous.version == "0.9.0"`, history(unseen), Warn},
		{`previous.verdict == "none"`, history(none), Warn},
		{`previous.event != publisher.event`, history(old), Allow},
		{`previous.event != publisher.event`, history(unseen), Error},
		{`pinned.exists`, attested, Allow},
		{`pinned.runner == "github-hosted"`, pins(Pinned{Runner: "github-hosted"}), Warn},
		{`pinned.runner == "github-hosted"`, pins(Pinned{Runner: "github-hosted", Ref: "a"}, Pinned{Runner: "github-hosted", Ref: "b"}), Warn},
		{`pinned.runner == "github-hosted"`, pins(Pinned{Runner: "github-hosted"}, Pinned{Runner: "self-hosted"}), Error},
		{`publisher.ref.endsWith("evil")`, func(s *Subject) { s.Outcome.Publisher.Ref = strings.Repeat("a", 5000) + "evil" }, Error},
		{`path[3] == "a"`, func(s *Subject) { s.Path = []string{"app"} }, Error},
		{`int(pkg.version) > 3`, attested, Error},
	} {
		r := Rule{ID: "r", When: tt.when, Then: Warn, Message: "m"}
		if err := r.compile(); err != nil {
			t.Fatal(err)
		}
		p := Default()
		p.Rules = []Rule{r}
		s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: outcome(verify.Provenance), Now: now}
		tt.with(s)
		_, findings := p.Decide(s, Filter{})
		got := Level(Allow)
		for _, f := range findings {
			if f.Rule == "r" {
				got = f.Level
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s: %+v", tt.when, got, tt.want, findings)
		}
	}
}

// TestNeedsHistory: a rule that looks at other versions gets them, of what the project holds as well.
func TestNeedsHistory(t *testing.T) {
	held := &Lock{Pins: map[string][]Pin{"left": {{Line: "1", Floor: verify.Signed, Versions: []string{"1.0.0"}}}}}
	for _, tt := range []struct {
		policy string
		lock   *Lock
		want   bool
	}{
		{"", nil, false},
		{"min-age: 1d\n", nil, true},
		{"min-age: 1d\n", held, false},
		{"rules: [{id: r, when: 'previous.exists', then: deny}]\n", held, true},
		{"rules: [{id: r, when: 'pkg.age < duration(\"1h\")', then: deny}]\n", held, true},
		{"rules: [{id: r, packages: [right], when: 'previous.exists', then: deny}]\n", nil, false},
		{"rules: [{id: r, when: 'direct', then: deny}]\n", nil, false},
		{"burst: warn\n", nil, true},
		{"downgrade: {line: deny}\n", nil, true},
	} {
		s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: outcome(verify.Signed), Lock: tt.lock, Now: now}
		if got := parse(t, tt.policy).NeedsHistory(s); got != tt.want {
			t.Errorf("%q, pinned %t: %t", tt.policy, tt.lock != nil, got)
		}
	}
	s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: outcome(verify.Provenance), Now: now}
	s.Outcome.Published = now.Add(-25 * time.Hour)
	if p := parse(t, "min-age: 1d\n"); p.NeedsHistory(s) {
		t.Error("a version whose age is logged is asked for its age")
	}
}
