package report

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"assay/internal/policy"
	"assay/internal/verify"
)

// TestFindingsInEveryForm: whatever form a report takes, it says which rule decided, where that was written, and why.
// A verification summary has no place for it: it holds the decision only.
func TestFindingsInEveryForm(t *testing.T) {
	r := New()
	for _, rule := range policy.BuiltIn() {
		if rule == "invalid" || rule == "unchecked" || rule == "unsigned" {
			continue // told by the checks that they repeat
		}
		r.Packages = append(r.Packages, Package{
			Name: "about-" + rule, Version: "1.0.0", PURL: "pkg:npm/about-" + rule + "@1.0.0", Registry: npmRegistry, Integrity: "sha512-AAAA",
			Bound: "lockfile", Locations: []string{"node_modules/about-" + rule}, File: "package-lock.json", Line: 7, Path: []string{"app"},
			Verdict: verify.Signed, Decision: policy.Decision(policy.Deny), Checks: []verify.Result{}, Further: []string{},
			Findings: []policy.Finding{{Rule: rule, Level: policy.Deny, Message: "what " + rule + " says of it", File: "policies/base.yaml", Line: 12}},
		})
		r.Others = append(r.Others, Other{
			Name: "other-" + rule, Source: "git", Resolved: "git+https://example.com/x", Locations: []string{}, Decision: policy.Decision(policy.Deny),
			Findings: []policy.Finding{{Rule: rule, Level: policy.Deny, Message: "what " + rule + " says of the other", File: "policies/base.yaml", Line: 13}},
		})
	}
	r.Sum()
	all := map[string]func(io.Writer, *Report, TextOptions) error{
		"text": WriteText, "html": WriteHTML, "cyclonedx": WriteCycloneDX, "spdx": WriteSPDX,
		"json": func(w io.Writer, r *Report, _ TextOptions) error { return WriteJSON(w, r) },
	}
	for name, write := range forms {
		all[name] = write
	}
	spaces := regexp.MustCompile(`[\s\x60]+`)
	for form, write := range all {
		t.Run(form, func(t *testing.T) {
			for i := range r.Packages {
				one := New() // one at a time, as GitHub shows ten annotations at most
				one.Packages, one.Others = r.Packages[i:i+1], r.Others[i:i+1]
				one.Sum()
				var b bytes.Buffer
				if err := write(&b, one, TextOptions{Subject: "app", Verbose: true}); err != nil {
					t.Fatal(err)
				}
				rule := one.Packages[0].Findings[0].Rule
				got := spaces.ReplaceAllString(b.String(), " ")
				got = strings.NewReplacer("%3A", ":", "%2C", ",", "&#43;", "+").Replace(got)
				wants := []string{rule, "policies/base.yaml:12", "policies/base.yaml:13", "what " + rule + " says of it", "what " + rule + " says of the other"}
				if form == "json" {
					wants = []string{`"rule": "` + rule + `"`, `"file": "policies/base.yaml"`, `"line": 12`, `"line": 13`, "what " + rule + " says of it"}
				}
				if form == "csv" { // names what spoke
					wants = wants[:3]
				}
				for _, want := range wants {
					if !strings.Contains(got, want) && !strings.Contains(strings.ReplaceAll(got, `":"`, `": "`), want) && !strings.Contains(strings.ReplaceAll(got, `":`, `": `), want) {
						t.Errorf("what is said of %s lacks %q:\n%.3000s", rule, want, b.String())
						return
					}
				}
			}
		})
	}
}
