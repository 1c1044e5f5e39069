package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"assay/internal/policy"
	"assay/internal/verify"
)

// Where two checks say the same of the same values, it is said once, and which checks they are.
func TestSaidOnce(t *testing.T) {
	r := New()
	r.Packages = append(r.Packages, pkg("stranger@2.0.0", verify.Invalid, policy.Deny,
		row("workflow-identity", verify.Fail, "repository-mismatch", wrongRepo, "https://github.com/new/name", "https://github.com/old/name"),
		row("source-repository", verify.Fail, "repository-mismatch", wrongRepo, "https://github.com/new/name", "https://github.com/old/name")))
	r.Sum()
	for name, text := range map[string]string{
		"text":     string(written(t, WriteText, r, TextOptions{})),
		"github":   string(written(t, WriteGitHub, r, TextOptions{})),
		"markdown": string(written(t, WriteMarkdown, r, TextOptions{})),
	} {
		text = strings.ReplaceAll(text, "`", "")
		if strings.Count(text, wrongRepo) != 1 || strings.Count(text, "https://github.com/new/name") != 1 ||
			!strings.Contains(text, "workflow-identity, source-repository: "+wrongRepo) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
	// Other values are other words.
	r.Packages[0].Checks = append([]verify.Result(nil), r.Packages[0].Checks...)
	for i := range r.Packages[0].Checks {
		if c := &r.Packages[0].Checks[i]; c.ID == "source-repository" {
			c.Actual = "https://github.com/third/name"
		}
	}
	if text := string(written(t, WriteText, r, TextOptions{})); strings.Count(text, wrongRepo) != 2 || !strings.Contains(text, "third/name") {
		t.Errorf("two values:\n%s", text)
	}
}

// What explains a hundred denials stands before them, and their names are a list.
func TestStrippedSignatures(t *testing.T) {
	r := New()
	for i := range 100 {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("p%02d@1.0.0", i), verify.Unsigned, policy.Deny,
			row("registry-signature", verify.Fail, "signature-missing", "the registry signs its packages and this one has no signature", "a signature", "none")))
	}
	r.Packages = append(r.Packages, pkg("other@1.0.0", verify.Invalid, policy.Deny, row("lockfile-integrity", verify.Fail, "integrity-mismatch", "other bytes", "a", "b")))
	r.Sum()
	print := func(o TextOptions) string {
		return string(written(t, WriteText, r, o))
	}
	if n := strings.Count(print(TextOptions{}), "\n"); n < 100 {
		t.Errorf("without the cause every package has its line, and there are %d", n)
	}
	r.Notes = append(r.Notes, Note{"signatures-stripped", "not one has a signature"})
	for _, o := range []TextOptions{{}, {Quiet: true}, {Width: 80}} {
		text := print(o)
		if strings.Count(text, "signatures-stripped: not one") != 1 || strings.Index(text, "signatures-stripped") > strings.Index(text, "p00@1.0.0") && strings.Contains(text, "DENIED") && strings.Index(text, "signatures-stripped") > strings.Index(text, "DENIED") ||
			strings.Count(text, "\n") > 60 || !strings.Contains(text, "p01@1.0.0") || !strings.Contains(text, "other@1.0.0 FAIL") || !strings.Contains(text, "more (-v lists all)") {
			t.Errorf("%+v: %d lines\n%s", o, strings.Count(text, "\n"), text)
		}
		if strings.Index(text, "signatures-stripped") > strings.Index(text, "registry-signature") {
			t.Errorf("%+v: the cause comes last\n%s", o, text)
		}
	}
	if text := print(TextOptions{Verbose: true}); strings.Count(text, "FAIL registry-signature") != 100 {
		t.Errorf("-v does not list all:\n%.3000s", text)
	}
}

// The page tells its maker, and times only as far as somebody gives them.
func TestPageMade(t *testing.T) {
	r := mixed()
	page := func(o TextOptions) string {
		return string(written(t, WriteHTML, r, o))
	}
	if text := page(TextOptions{}); strings.Contains(text, "made by") || strings.Contains(text, "<dt>made</dt>") || strings.Contains(text, "evidence of") {
		t.Error("nothing is given, and something told")
	}
	text := page(TextOptions{Version: "1.2.3", Documents: DocumentOptions{
		Time: time.Unix(1700000000, 0), EvidenceAt: time.Unix(1600000000, 0), EvidenceSHA512: "abcd"}})
	for _, want := range []string{"<dt>made by</dt><dd>Assay 1.2.3</dd>", "<dt>made</dt><dd>2023-11-14 22:13:20 UTC</dd>", "<dt>evidence of</dt><dd>2020-09-13 12:26:40 UTC, an archive, sha512 abcd</dd>"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// What the page counts as decided is what the JSON's summary counts, and what comes from no registry stands apart.
func TestPageDecisions(t *testing.T) {
	r := mixed()
	text := string(written(t, WriteHTML, r, TextOptions{}))
	others := Summary{}
	for i := range r.Others {
		others.decide(r.Others[i].Decision)
	}
	for _, d := range []struct {
		level     string
		n, others int
	}{{"deny", r.Summary.Deny, others.Deny}, {"error", r.Summary.Error, others.Error}, {"warn", r.Summary.Warn, others.Warn}, {"allow", r.Summary.Allow, others.Allow}} {
		b := levelBadges[d.level]
		means := ""
		if d.others > 0 {
			means = fmt.Sprintf("and %d from no registry", d.others)
		}
		if want := fmt.Sprintf("<i class=%s>%s</i></th><td class=\"n\">%d</td><td>%s</td>", b.Class, b.Word, d.n, means); !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if len(r.Others) == 0 {
		t.Error("the report has nothing from elsewhere")
	}
}
