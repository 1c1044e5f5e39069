package demo

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/report"
	"assay/internal/verify"
)

// TestExpectations: no expectation is met by a row that says nothing.
func TestExpectations(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range stories() {
		if seen[s.name] {
			t.Errorf("%s is told twice", s.name)
		}
		seen[s.name] = true
		if s.want.verdict == "" || s.want.decision == "" || s.want.check == "" && s.want.runner == "" {
			t.Errorf("%s expects too little: %+v", s.name, s.want)
		}
		for _, row := range []*report.Package{nil, {}, {Verdict: s.want.verdict}, {Verdict: s.want.verdict, Decision: policy.Decision(s.want.decision)}} {
			if s.want.missed(row) == "" {
				t.Errorf("%s is content with %+v", s.name, row)
			}
		}
	}
	want := fail("subject", "subject-name")
	row := &report.Package{Verdict: verify.Invalid, Decision: "deny", Checks: []verify.Result{{ID: "subject", Status: verify.Fail, Reason: "subject-name"}}}
	if m := want.missed(row); m != "" {
		t.Error(m)
	}
	row.Checks[0].Status = verify.Error
	if m := want.missed(row); m != "expected subject fail subject-name, and it is error subject-name" {
		t.Error(m)
	}
	want = expectation{runner: "self-hosted"}
	if m := want.missed(&report.Package{Publisher: &publisher.Publisher{Runner: "github-hosted"}}); m != "expected runner self-hosted, and it is github-hosted" {
		t.Error(m)
	}
}

func TestPrinter(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for _, tt := range []struct{ width, want int }{{0, 80}, {20, 40}, {57, 57}, {300, 100}} {
		var plain, coloured bytes.Buffer
		for _, w := range []*bytes.Buffer{&plain, &coloured} {
			p := newPrinter(w, TextOptions{Width: tt.width, Color: w == &coloured})
			p.heading("Head of %d", 1)
			p.led(4, "lead: ", long)
			p.line(4, "")
			p.put(2, denied, "no")
			p.blank()
			p.line(2, strings.Repeat("x", 150))
			if err := p.flush(); err != nil {
				t.Fatal(err)
			}
		}
		widest := 0
		for line := range strings.Lines(plain.String()) {
			if !strings.Contains(line, "xxx") { // a word is never cut: it may have to be copied
				widest = max(widest, len(strings.TrimRight(line, "\n")))
			}
		}
		if widest > tt.want || widest < tt.want-5 {
			t.Errorf("width %d: lines of %d columns, want %d", tt.width, widest, tt.want)
		}
		if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[1;31mno\x1b[0m") {
			t.Errorf("colours: %q and %q", plain.String(), coloured.String())
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestPrinterError(t *testing.T) {
	p := newPrinter(brokenWriter{}, TextOptions{})
	p.line(0, strings.Repeat("word ", 5000))
	if err := p.flush(); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}

func TestCounted(t *testing.T) {
	const said = `audited 14 packages in 0s

12 packages have verified registry signatures

1 package has a verified attestation
(use --json --include-attestations to view attestation details)

2 packages have missing registry signatures but the registry is providing signing keys:

left@1.0.0 (http://127.0.0.1:4873/)
@acme/right@1.0.0 (http://127.0.0.1:4873/)
` + "evil\x1b[2J@1.0.0 (http://127.0.0.1/)\n"
	want := []string{
		"12 packages have verified registry signatures", "1 package has a verified attestation",
		"2 packages have missing registry signatures but the registry is providing signing keys:",
		"left@1.0.0 (http://127.0.0.1:4873/)", "@acme/right@1.0.0 (http://127.0.0.1:4873/)", `evil\u{1b}[2J@1.0.0 (http://127.0.0.1/)`,
	}
	if got := counted([]byte(said)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := counted(bytes.Repeat([]byte(want[0]+"\n"), 100)); len(got) != 12 {
		t.Errorf("%d lines", len(got))
	}
}

func TestUnsettled(t *testing.T) {
	got := unsettled([]string{"PATH=/bin", "npm_config_registry=x", "NPM_CONFIG_OFFLINE=true", "NODE_OPTIONS=--require x", "HOME=/h"})
	if !slices.Equal(got, []string{"PATH=/bin", "HOME=/h"}) {
		t.Errorf("%q", got)
	}
}

func TestQuote(t *testing.T) {
	if filepath.Separator != '/' {
		t.Skip("other shells quote otherwise")
	}
	for s, want := range map[string]string{"/tmp/assay-demo-1": "/tmp/assay-demo-1", "/tmp/a b": "'/tmp/a b'", "/tmp/it's": `'/tmp/it'\''s'`} {
		if got := quote(s); got != want {
			t.Errorf("quote(%q) = %s", s, got)
		}
	}
}
