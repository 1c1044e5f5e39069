package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"assay/internal/policy"
	"assay/internal/verify"
)

// goSARIF is a module that holds the official schema.
const goSARIF = "github.com/owenrumney/go-sarif/v3@v3.3.1"

// officialSARIF returns the official JSON Schema of SARIF 2.1.0, errata 01, which that module keeps as text in a
// source file. It is loaded for the test and stands in no file here.
func officialSARIF(t *testing.T) *jsonschema.Schema {
	t.Helper()
	download := exec.Command("go", "mod", "download", "-json", goSARIF)
	download.Dir = t.TempDir() // in no module, so that nothing becomes a dependency
	out, err := download.Output()
	var module struct{ Dir string }
	if err != nil || json.Unmarshal(out, &module) != nil || module.Dir == "" {
		t.Skipf("the module with SARIF's schema cannot be had, so there is nothing to validate against: %v", err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(module.Dir, "pkg/report/v210/sarif/schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && len(l.Value) > len(text) {
			text = l.Value
		}
		return true
	})
	text, err = strconv.Unquote(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(sarifSchema, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(sarifSchema)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sarif(t *testing.T, r *Report, o TextOptions) []byte {
	t.Helper()
	var b, again bytes.Buffer
	if err := WriteSARIF(&b, r, o); err != nil {
		t.Fatal(err)
	}
	if err := WriteSARIF(&again, r, o); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("writing the same report again gives other bytes (%v)", err)
	}
	return b.Bytes()
}

// readSARIF is a log as its readers see it.
type readSARIF struct {
	Runs []struct {
		Tool    struct{ Driver struct{ Rules []sarifRule } }
		Results []struct {
			RuleID              string
			RuleIndex           int
			Level               string
			Message             sarifText
			Locations           []sarifLocation
			PartialFingerprints map[string]string
		}
		Invocations []struct {
			ExitCode                   int
			ToolExecutionNotifications []sarifNotification
		}
	}
}

func TestSARIFSchema(t *testing.T) {
	s := officialSARIF(t)
	for name, r := range reports() {
		for _, o := range []TextOptions{{}, {Version: "1.2.3-rc.1", Locate: under("packages/app"), FailOnWarn: true, Flags: []string{"--registry", "https://r.example"}}} {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(sarif(t, r, o)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := s.Validate(v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	broken, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"version":"2.1.0","runs":[{"results":[]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Validate(broken) == nil {
		t.Error("the schema accepts a run without a tool, so it is not the official one")
	}
}

// TestSARIFValidator has Microsoft's validator look, with SARIF's own rules and those of GitHub's uploads.
func TestSARIFValidator(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not here to install Microsoft's SARIF validator")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir = filepath.Join(dir, "assay-tests", "sarif-multitool-5.7.0")
	tool := filepath.Join(dir, "node_modules/@microsoft/sarif-multitool-linux/Sarif.Multitool")
	if _, err := os.Stat(tool); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		install := exec.Command(npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "@microsoft/sarif-multitool@5.7.0")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Skipf("Microsoft's SARIF validator cannot be installed: %v: %.300s", err, out)
		}
	}
	if _, err := os.Stat(tool); err != nil {
		t.Skip("Microsoft's SARIF validator has no build for this system")
	}
	if err := os.Chmod(tool, 0o755); err != nil {
		t.Fatal(err)
	}
	var files []string
	work := t.TempDir()
	for name, r := range reports() {
		file := filepath.Join(work, name+".sarif")
		if err := os.WriteFile(file, sarif(t, r, TextOptions{Version: "1.2.3", FailOnWarn: true}), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	result := filepath.Join(work, "result.json")
	validate := exec.Command(tool, append([]string{"validate", "--rule-kind", "Sarif;Gh", "--level", "Error;Warning", "--log", "ForceOverwrite", "-o", result}, files...)...)
	validate.Env = append(os.Environ(), "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1")
	out, err := validate.CombinedOutput()
	data, readErr := os.ReadFile(result)
	if readErr != nil {
		t.Fatalf("the validator wrote nothing: %v: %.600s", err, out)
	}
	var log struct {
		Runs []struct {
			Results []struct {
				RuleID    string
				Level     string
				Message   struct{ Arguments []string }
				Locations []json.RawMessage
			}
			Invocations []struct{ ExecutionSuccessful bool }
			Artifacts   []any
		}
	}
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatal(err)
	}
	if len(log.Runs) != 1 || len(log.Runs[0].Invocations) != 1 || !log.Runs[0].Invocations[0].ExecutionSuccessful {
		t.Fatalf("the validator did not run to its end: %.600s", out)
	}
	for _, x := range log.Runs[0].Results {
		if x.RuleID == "SARIF2005" {
			continue // a tool should name its home page, and this one has none
		}
		t.Errorf("%s %s: %q %.400s", x.Level, x.RuleID, x.Message.Arguments, x.Locations)
	}
}

// What GitHub requires of a file, beside the schema.
func TestSARIFForGitHub(t *testing.T) {
	big := New()
	for i := range 30_000 {
		d, v := policy.Warn, verify.Signed
		var rows []verify.Result
		if i%3 == 0 {
			d, v = policy.Deny, verify.Invalid
			rows = []verify.Result{row("lockfile-integrity", verify.Fail, "integrity-mismatch", mismatch+strings.Repeat(" and more", 200), integrityA, integrityB)}
		}
		p := pkg(fmt.Sprintf("package-%d@1.0.0", i), v, d, rows...)
		big.Packages = append(big.Packages, p)
	}
	all := reports()
	all["big"] = big
	for name, r := range all {
		data := sarif(t, r, TextOptions{FailOnWarn: true})
		if len(data) > 10_000_000 {
			t.Errorf("%s: %d bytes", name, len(data))
		}
		var log readSARIF
		if err := json.Unmarshal(data, &log); err != nil {
			t.Fatal(err)
		}
		run := log.Runs[0]
		if n := len(run.Results); n > maxSARIFResults || name == "big" && n < 5000 {
			t.Errorf("%s: %d results", name, n)
		}
		if name == "big" && !slices.ContainsFunc(run.Invocations[0].ToolExecutionNotifications, func(n sarifNotification) bool { return n.Descriptor.ID == "results-left-out" }) {
			t.Error("big: nothing tells that results are left out")
		}
		if got := run.Invocations[0].ExitCode; got != r.Exit() {
			t.Errorf("%s: exit code %d, want %d", name, got, r.Exit())
		}
		ids := map[string]bool{}
		for _, rule := range run.Tool.Driver.Rules {
			severity, err := strconv.ParseFloat(rule.Properties.Severity, 64)
			if err != nil || severity <= 0 || severity > 10 || ids[rule.ID] || rule.ID == "" || rule.Short.Text == "" || rule.Full.Text == "" || rule.Help.Text == "" || len(rule.Properties.Tags) > 10 || len(rule.Name) > 255 {
				t.Errorf("%s: rule %+v", name, rule)
			}
			ids[rule.ID] = true
		}
		seen, gravity := map[string]bool{}, 0
		for _, x := range run.Results {
			g := slices.Index([]string{"error", "warning", "note"}, x.Level)
			if g < gravity {
				t.Fatalf("%s: a result of level %s comes after a lesser one", name, x.Level)
			}
			gravity = g
			f := x.PartialFingerprints["primaryLocationLineHash"]
			if f == "" || seen[f] {
				t.Errorf("%s: fingerprint %q is empty or not the only one", name, f)
			}
			seen[f] = true
			if x.RuleID == "" || run.Tool.Driver.Rules[x.RuleIndex].ID != x.RuleID || x.Message.Text == "" || len(x.Locations) != 1 {
				t.Fatalf("%s: result %+v", name, x)
			}
			l := x.Locations[0].Physical
			if strings.HasPrefix(l.Artifact.URI, "/") || l.Artifact.URI == "" || l.Region.StartLine < 1 {
				t.Errorf("%s: location %+v", name, l)
			}
		}
	}
}

func TestSARIFLevelsAndPlaces(t *testing.T) {
	var log readSARIF
	if err := json.Unmarshal(sarif(t, mixed(), TextOptions{Locate: under("packages/my app")}), &log); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range log.Runs[0].Results {
		l := x.Locations[0]
		got[l.Logical[0].Name+" "+x.RuleID] += fmt.Sprintf("%s %s:%d", x.Level, l.Physical.Artifact.URI, l.Physical.Region.StartLine)
	}
	for key, want := range map[string]string{
		"pkg:npm/left-pad@1.3.0 lockfile-integrity":              "error packages/my%20app/package-lock.json:108",
		"pkg:npm/%40scope/builder@2.0.0-rc.1 envelope-signature": "error packages/my%20app/package-lock.json:114",
		"pkg:npm/%40scope/builder@2.0.0-rc.1 transparency-log":   "error packages/my%20app/package-lock.json:114",
		"pkg:npm/slow-0@1.0.0 unchecked":                         "error packages/my%20app/package-lock.json:106",
		"pkg:npm/no-repo@1.0.0 identity-unchecked":               "warning packages/my%20app/package-lock.json:107",
		"downloaded@0.0.1 source":                                "error packages/my%20app/package-lock.json:80",
		"forked@2.0.0 source":                                    "warning packages/my%20app/package-lock.json:77",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
	for key := range got {
		if strings.HasSuffix(key, " signed") {
			t.Errorf("%s is told though warnings do not count", key)
		}
	}
	// What the policy lets through is no error.
	if err := json.Unmarshal(sarif(t, ruled(), TextOptions{}), &log); err != nil {
		t.Fatal(err)
	}
	for _, x := range log.Runs[0].Results {
		if strings.Contains(x.Message.Text, "known-bad") && x.Level != "warning" || strings.Contains(x.Message.Text, "unclear@") && x.Level != "warning" {
			t.Errorf("%s is of level %s", x.Message.Text, x.Level)
		}
	}
}

// A fingerprint stays where lines move, and where what is around a package changes.
func TestFingerprintsAreStable(t *testing.T) {
	before, after := results(mixed(), TextOptions{}), mixed()
	for i := range after.Packages {
		after.Packages[i].Line += 1000
	}
	after.Packages = slices.Insert(after.Packages, 0, pkg("added@1.0.0", verify.Invalid, policy.Deny, row("subject", verify.Fail, "subject-digest", "other bytes")))
	now := map[string]string{}
	for _, x := range results(after, TextOptions{}) {
		now[x.entry.spec+" "+x.what] = x.fingerprint
	}
	for _, x := range before {
		if now[x.entry.spec+" "+x.what] != x.fingerprint {
			t.Errorf("%s %s has another fingerprint", x.entry.spec, x.what)
		}
	}
	// The same version twice, with other bytes.
	r := New()
	for range 3 {
		r.Packages = append(r.Packages, pkg("twice@1.0.0", verify.Invalid, policy.Deny, row("subject", verify.Fail, "subject-digest", "other bytes")))
	}
	list := results(r, TextOptions{})
	if len(list) != 3 || list[0].fingerprint == list[1].fingerprint || list[1].fingerprint == list[2].fingerprint || !strings.HasSuffix(list[2].fingerprint, ":3") {
		t.Errorf("fingerprints %v", list)
	}
}

// Every check has words and a section in the documentation; no words are about a check that there is none of.
func TestRuleWords(t *testing.T) {
	doc, err := os.ReadFile("../../docs/checks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range append(verify.IDs(), policyRules...) {
		if w := ruleAbout[id]; w.short == "" || w.full == "" || !strings.HasSuffix(w.short, ".") {
			t.Errorf("%s has no words", id)
		}
	}
	for _, id := range verify.IDs() {
		if !bytes.Contains(doc, []byte("\n## `"+id+"`\n")) {
			t.Errorf("docs/checks.md has no section on %s, where the help points to", id)
		}
	}
}
