package policy

import (
	"fmt"
	"strings"
	"testing"

	"assay/internal/npm"
	"assay/internal/verify"
)

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name, rule, wantErr string
		want                Level
	}{
		{name: "true", rule: `{id: r, when: 'publisher.event == "push"', then: deny, message: m}`, want: Deny},
		{name: "false", rule: `{id: r, when: 'publisher.event == "pull_request"', then: deny, message: m}`, want: Allow},
		{name: "path", rule: `{id: r, when: 'path.exists(p, p == "app")', then: warn}`, want: Warn},
		{name: "for other packages", rule: `{id: r, packages: [other], when: 'true', then: deny}`, want: Allow},
		{name: "reach, where nobody looked", rule: `{id: r, when: 'reach == "called"', then: note}`, want: Error},
		{name: "age, which nobody knows", rule: `{id: r, when: 'pkg.age < duration("1h")', then: note}`, want: Error},
		{name: "observed", rule: `{id: r, when: 'direct', then: deny, mode: observe}`, want: Warn},
		{name: "misspelt", rule: `{id: r, when: 'publisher.evnt == "push"', then: deny}`, wantErr: `p.yaml:3:18: in `},
		{name: "misspelt, with a hint", rule: `{id: r, when: 'publisher.evnt == "push"', then: deny}`, wantErr: `did you mean 'publisher.event'?`},
		{name: "a verdict that there is not", rule: `{id: r, when: 'verdict == "provenence"', then: deny}`, wantErr: `p.yaml:3:29: in ` + "`when:`" + `: verdict is never "provenence"; it is one of provenance, signed, unsigned, invalid, unchecked; did you mean provenance?`},
		{name: "the other way round", rule: `{id: r, when: 'direct || !("self" != publisher.runner)', then: deny}`, wantErr: `publisher.runner is never "self"; it is one of github-hosted, gitlab-hosted, self-hosted`},
		{name: "in a list", rule: `{id: r, when: 'path.exists(p, p == "a" && reach in ["called", "import"])', then: deny}`, wantErr: `p.yaml:3:65: in ` + "`when:`" + `: reach is never "import"`},
		{name: "no publisher, no pin", rule: `{id: r, when: 'publisher.runner == "" || pinned.floor in ["", "signed"] || previous.verdict == "none"', then: deny}`, want: Deny},
		{name: "two variables", rule: `{id: r, when: 'publisher.runner == pkg.name || verdict == pkg.version', then: deny}`, want: Allow},
		{name: "an age in days", rule: `{id: r, when: 'pkg.age < duration("3d")', then: deny}`, wantErr: `; write it in hours, such as duration("72h")`},
		{name: "an age as a text", rule: `{id: r, when: 'pkg.age < "72h"', then: deny}`, wantErr: `; write it in hours, such as duration("72h")`},
		{name: "no truth", rule: `{id: r, when: 'pkg.name', then: deny}`, wantErr: "has to be true or false"},
		{name: "dear", rule: `{id: r, when: 'path.all(a, path.all(b, path.all(c, a + b + c == pkg.name)))', then: deny}`, wantErr: "steps"},
		{name: "without an id", rule: `{when: 'true', then: deny}`, wantErr: "`id:` is missing"},
		{name: "a built-in id", rule: `{id: invalid, when: 'true', then: deny}`, wantErr: "built-in"},
		{name: "allow", rule: `{id: r, when: 'true', then: allow}`, wantErr: `"allow" is not a level`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte("version: 1\nrules:\n- "+tt.rule+"\n"), "p.yaml", nil)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: outcome(verify.Provenance), Now: now, Path: []string{"app", "left"}, Direct: true}
			if d, findings := p.Decide(s, Filter{}); d != Decision(tt.want) {
				t.Errorf("%s %+v, want %s", d, findings, tt.want)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	var text strings.Builder
	text.WriteString("version: 1\nrules:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "- {id: r%d, when: 'verdict == \"provenance\" && publisher.repository.startsWith(\"https://github.com/evil%d/\") && publisher.event == \"pull_request\"', then: deny}\n", i, i)
	}
	p, err := Parse([]byte(text.String()), "p.yaml", nil)
	if err != nil {
		b.Fatal(err)
	}
	s := &Subject{ID: npm.ID{Name: "left", Version: "1.0.0"}, Outcome: outcome(verify.Provenance), Now: now}
	b.ReportAllocs()
	for b.Loop() {
		for range 1500 {
			p.Decide(s, Filter{})
		}
	}
}
