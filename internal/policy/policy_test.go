package policy

import (
	"strings"
	"testing"
	"time"

	"assay/internal/publisher"
	"assay/internal/verify"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in, wantErr string
		check             func(*Policy) bool
	}{
		{name: "least", in: "version: 1\n", check: func(p *Policy) bool { return p.Default.Unsigned.Level == Deny && p.Default.Signed.Level == Warn }},
		{name: "levels", in: "version: 1\ndefault: {unsigned: warn, signed: note}\nsources: {git: deny}\nidentity: {no-repository: deny}\n",
			check: func(p *Policy) bool {
				return p.Default.Unsigned == Setting{Warn, Place{"p.yaml", 2}, ""} && p.Default.Signed.Level == Note && p.Sources.Git.Level == Deny && p.Identity.NoRepository.Level == Deny
			}},
		{name: "registry", in: "version: 1\nregistries:\n  https://npm.example/:\n    keys: none\n    publisher: {repository: acme/builds}\n",
			check: func(p *Policy) bool {
				r := p.Registries["https://npm.example"]
				return r.Keys == "none" && r.Publisher.Repository == "https://github.com/acme/builds" && r.Line == 3
			}},
		{name: "issuers", in: "version: 1\nissuers: [https://gitlab.acme.example]\n", check: func(p *Policy) bool { return len(p.Issuers) == 1 }},
		{name: "empty", in: "", wantErr: "p.yaml:1: the file is empty"},
		{name: "comment", in: "# nothing\n", wantErr: "p.yaml:1: the file is empty"},
		{name: "no version", in: "default: {}\n", wantErr: "`version: 1` is missing"},
		{name: "other version", in: "version: 2\n", wantErr: "p.yaml:1:10: version must be 1"},
		{name: "unknown key", in: "version: 1\ndefalt: {}\n", wantErr: `p.yaml:2:1: unknown key "defalt"; did you mean default?`},
		{name: "unknown nested key", in: "version: 1\ndefault:\n  unsinged: warn\n", wantErr: `p.yaml:3:3: unknown key "unsinged"; did you mean unsigned?`},
		{name: "twice", in: "version: 1\ndefault: {}\ndefault: {}\n", wantErr: "p.yaml:3:"},
		{name: "unknown level", in: "version: 1\ndefault: {signed: maybe}\n", wantErr: `p.yaml:2:19: "maybe" is not a level`},
		{name: "invalid let through", in: "version: 1\ndefault: {invalid: warn}\n", wantErr: "p.yaml:2: invalid cannot be warn"},
		{name: "keyless without publisher", in: "version: 1\nregistries: {https://npm.example: {keys: none}}\n", wantErr: "needs a `publisher:`"},
		{name: "keyless with anybody", in: "version: 1\nregistries: {https://npm.example: {keys: none, publisher: {workflow: .github/workflows/release.yml}}}\n", wantErr: "has to name a `repository:`"},
		{name: "keyless with anybody of an issuer", in: "version: 1\nregistries: {https://npm.example: {keys: none, publisher: {issuer: https://token.actions.githubusercontent.com}}}\n", wantErr: "has to name a `repository:`"},
		{name: "npm without keys", in: "version: 1\nregistries: {https://registry.npmjs.org: {keys: none, publisher: {repository: a/b}}}\n", wantErr: "signs every package"},
		{name: "registry that is no URL", in: "version: 1\nregistries: {npm.example: {}}\n", wantErr: "is not the URL of a registry"},
		{name: "issuer that is no URL", in: "version: 1\nissuers: [gitlab]\n", wantErr: "is not the https URL of an issuer"},
		{name: "alias", in: "version: 1\ndefault: &a {}\nsources: *a\n", wantErr: "anchors and aliases"},
		{name: "two documents", in: "version: 1\n---\nversion: 1\n", wantErr: "more than one YAML document"},
		{name: "not YAML", in: "version: [\n", wantErr: "p.yaml:"},
		{name: "a list", in: "- 1\n", wantErr: "expected keys and values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.in), "p.yaml", nil)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !tt.check(p) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"version: 1\n", "version: 1\ndefault: {signed: warn}\n", "a: &a [*a]\n", "version: 1\nregistries: {https://a: {keys: none, publisher: {repository: a/b}}}\n", "? [a]\n: b\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data, "p.yaml", nil)
		if err == nil && (p == nil || p.Default.Invalid.Level != Deny) {
			t.Errorf("%q gives %+v", data, p)
		}
	})
}

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func outcome(v verify.Verdict) *verify.Outcome {
	o := &verify.Outcome{Verdict: v}
	switch v {
	case verify.Invalid:
		o.Checks = []verify.Result{{ID: "subject", Status: verify.Fail, Message: "m"}}
	case verify.Unchecked:
		o.Checks = []verify.Result{{ID: "subject", Status: verify.Error, Message: "m"}}
	case verify.Provenance:
		o.Publisher = acme()
	}
	return o
}

func acme() *publisher.Publisher {
	return &publisher.Publisher{
		Issuer: publisher.GitHubIssuer, Repository: "https://github.com/acme/left", Owner: "https://github.com/acme",
		Workflow: ".github/workflows/release.yml", Ref: "refs/heads/main", Event: "push", Commit: strings.Repeat("a", 40), Runner: "github-hosted",
		SignerRepository: "https://github.com/acme/flows", SignerWorkflow: ".github/workflows/publish.yml", SignerRef: "refs/tags/v1",
	}
}

func TestDecide(t *testing.T) {
	demand := Filter{Repository: "acme/left"}
	for _, tt := range []struct {
		name   string
		o      *verify.Outcome
		filter Filter
		policy string
		want   Level
		rule   string
	}{
		{"provenance", outcome(verify.Provenance), Filter{}, "", Allow, ""},
		{"provenance without a claim", func() *verify.Outcome { o := outcome(verify.Provenance); o.RepositoryAbsent = true; return o }(), Filter{}, "", Warn, "identity-unchecked"},
		{"provenance without a claim, demanded by event only", func() *verify.Outcome { o := outcome(verify.Provenance); o.RepositoryAbsent = true; return o }(), Filter{Event: "push"}, "", Warn, "identity-unchecked"},
		{"provenance without a claim, demanded", func() *verify.Outcome { o := outcome(verify.Provenance); o.RepositoryAbsent = true; return o }(), demand, "", Allow, ""},
		{"signed", outcome(verify.Signed), Filter{}, "", Warn, "signed"},
		{"signed, allowed", outcome(verify.Signed), Filter{}, "default: {signed: allow}", Allow, ""},
		{"signed, demanded", outcome(verify.Signed), demand, "default: {signed: allow}", Deny, "publisher"},
		{"unsigned", outcome(verify.Unsigned), Filter{}, "", Warn, "unsigned"},
		{"unsigned where all is signed", func() *verify.Outcome { o := outcome(verify.Unsigned); o.RegistrySigns = true; return o }(), Filter{}, "", Deny, "unsigned"},
		{"unsigned, denied by policy", outcome(verify.Unsigned), Filter{}, "default: {unsigned: deny}", Deny, "unsigned"},
		{"unchecked", outcome(verify.Unchecked), Filter{}, "", Error, "unchecked"},
		{"unchecked, demanded", outcome(verify.Unchecked), demand, "default: {unchecked: warn}", Error, "unchecked"},
		{"unchecked without an error", &verify.Outcome{Verdict: verify.Unchecked}, Filter{}, "", Error, "unchecked"},
		{"invalid", outcome(verify.Invalid), Filter{}, "", Deny, "invalid"},
		{"provenance that nothing binds", func() *verify.Outcome { o := outcome(verify.Provenance); o.Locked, o.Bound = true, "none"; return o }(), Filter{}, "", Warn, "unbound"},
		{"the same, denied", func() *verify.Outcome { o := outcome(verify.Provenance); o.Locked, o.Bound = true, "none"; return o }(), Filter{}, "unbound: deny", Deny, "unbound"},
		{"provenance bound by the lockfile", func() *verify.Outcome {
			o := outcome(verify.Provenance)
			o.Locked, o.Bound = true, "lockfile"
			return o
		}(), Filter{}, "", Allow, ""},
		{"no verdict", &verify.Outcome{}, Filter{}, "", Error, "unchecked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Default()
			if tt.policy != "" {
				var err error
				if p, err = Parse([]byte("version: 1\n"+tt.policy+"\n"), "p.yaml", nil); err != nil {
					t.Fatal(err)
				}
			}
			d, findings := p.Decide(&Subject{Outcome: tt.o, Now: now}, tt.filter)
			if d != Decision(tt.want) || tt.rule != "" && (len(findings) == 0 || findings[0].Rule != tt.rule) || tt.rule == "" && len(findings) != 0 {
				t.Errorf("%s with %+v, want %s by %q", d, findings, tt.want, tt.rule)
			}
			if d, _ := p.Decide(&Subject{Outcome: tt.o, Now: now, Oddity: "odd"}, tt.filter); d != Decision(Deny) {
				t.Errorf("an oddity gives %s", d)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	pattern := func(s string) Filter {
		p, err := AnchoredPattern(s)
		if err != nil {
			t.Fatal(err)
		}
		return Filter{SignerPattern: p}
	}
	const signer = "https://github.com/acme/flows/.github/workflows/publish.yml@refs/tags/v1"
	for _, tt := range []struct {
		filter Filter
		meets  bool
	}{
		{Filter{}, true},
		{Filter{Repository: "acme/left"}, true},
		{Filter{Repository: "ACME/Left"}, true},
		{Filter{Repository: "github.com/acme/left"}, true},
		{Filter{Repository: "https://github.com/acme/left.git"}, true},
		{Filter{Repository: "https://gitlab.com/acme/left"}, false},
		{Filter{Repository: "gitlab.com/acme/left"}, false},
		{Filter{Repository: "acme/left", Issuer: publisher.GitLabIssuer}, false},
		{Filter{Repository: "acme/lef"}, false},
		{Filter{Repository: "acme/left-evil"}, false},
		{Filter{Repository: "acme"}, false},
		{Filter{Owner: "acme"}, true},
		{Filter{Owner: "acm"}, false},
		{Filter{Workflow: ".github/workflows/release.yml"}, true},
		{Filter{Workflow: "release.yml"}, false},
		{Filter{Ref: "refs/heads/main"}, true},
		{Filter{Ref: "main"}, false},
		{Filter{Event: "push"}, true},
		{Filter{Event: "PUSH"}, false},
		{Filter{Issuer: publisher.GitHubIssuer}, true},
		{Filter{Issuer: publisher.GitHubIssuer + "/acme"}, false},
		{Filter{Commit: strings.Repeat("A", 40)}, true},
		{Filter{Commit: strings.Repeat("a", 39)}, false},
		{Filter{Signer: signer}, true},
		{Filter{Signer: signer + "x"}, false},
		{Filter{SignerRepo: "acme/flows"}, true},
		{Filter{SignerRepo: "acme/left"}, false},
		{Filter{SignerFlow: "acme/flows/.github/workflows/publish.yml"}, true},
		{Filter{SignerFlow: "acme/flows/.github/workflows/publish"}, false},
		{Filter{SignerFlow: ".github/workflows/publish.yml"}, true},
		{Filter{GitHubHosted: true}, true},
		{pattern("https://github.com/acme/.*"), true},
		{pattern("github.com/acme/.*"), false},
		{pattern("https://github.com/acme/flows"), false},
		{pattern("x|https://github.com/acme/flows"), false},
	} {
		if got := tt.filter.Mismatch(acme()); (got == "") != tt.meets {
			t.Errorf("%+v: %q, want met %t", tt.filter, got, tt.meets)
		}
	}
	gitlab := acme()
	gitlab.Issuer, gitlab.Repository, gitlab.Owner = publisher.GitLabIssuer, "https://gitlab.com/acme/left", "https://gitlab.com/acme"
	for filter, meets := range map[Filter]bool{
		{Repository: "acme/left"}: false, {Owner: "acme"}: false, {Repository: "github.com/acme/left"}: false,
		{Repository: "gitlab.com/acme/left"}: true, {Owner: "gitlab.com/acme"}: true, {Repository: "acme/left", Issuer: publisher.GitLabIssuer}: true,
	} {
		if got := filter.Mismatch(gitlab); (got == "") != meets {
			t.Errorf("%+v over a project of GitLab's: %q, want met %t", filter, got, meets)
		}
	}
	if _, err := AnchoredPattern("x)|(?:https://.*"); err == nil {
		t.Error("a pattern that closes its anchors compiles")
	}
	self := acme()
	self.Runner = "self-hosted"
	if (Filter{GitHubHosted: true}).Mismatch(self) == "" {
		t.Error("a self-hosted runner passes for a hosted one")
	}
}

func TestDecideSource(t *testing.T) {
	for source, want := range map[string]Level{
		"git": Warn, "url": Deny, "file": Allow, "workspace": Allow, "link": Allow, "bundled": Allow, "foreign": Allow, "unknown": Error, "something else": Deny,
	} {
		if d, _ := Default().DecideSource(Dependency{Source: source, Now: now}); d != Decision(want) {
			t.Errorf("%s: %s, want %s", source, d, want)
		}
		if d, _ := Default().DecideSource(Dependency{Source: source, Oddity: "odd", Now: now}); d != Decision(Deny) {
			t.Errorf("%s with an oddity: %s", source, d)
		}
	}
}
