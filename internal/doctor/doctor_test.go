package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"assay/internal/npm"
)

// home is the repository that the fixtures are built in.
var home = Options{Repository: npm.Repository{Host: "github.com", Path: "acme/widget"}, Source: "--repo", Canonical: true}

// fixture reads one half of a fixture in testdata/rules. The archive's comment holds options, a line each:
// "repo none", "visibility private", "also RULE" for a rule that the bad half breaks too.
func fixture(t testing.TB, rule, half string) (root fstest.MapFS, o Options, also []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/rules", rule+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	root, o = fstest.MapFS{}, home
	marker := regexp.MustCompile(`(?m)^-- (\S+) --\n`)
	marks := marker.FindAllSubmatchIndex(data, -1)
	for i, m := range marks {
		end := len(data)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		if name, ok := strings.CutPrefix(string(data[m[2]:m[3]]), half+"/"); ok {
			root[name] = &fstest.MapFile{Data: data[m[1]:end:end], Mode: 0o644}
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data[:marks[0][0]])), "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "also":
			also = append(also, value)
		case half == "bad" && key == "repo":
			o = Options{}
		case half == "bad" && key == "visibility":
			o.Visibility = value
		}
	}
	return root, o, also
}

func check(t testing.TB, root fs.FS, o Options) *Report {
	t.Helper()
	r, err := Check(root, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// broken returns the rules that a report's findings name, each once, sorted.
func broken(r *Report) []string {
	var all []string
	for _, f := range r.Findings {
		all = append(all, f.Rule)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestRules: every rule has a project that breaks it and nothing else, and its twin that breaks nothing.
func TestRules(t *testing.T) {
	for _, rule := range Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			root, o, also := fixture(t, rule.ID, "bad")
			r := check(t, root, o)
			want := append([]string{rule.ID}, also...)
			slices.Sort(want)
			if got := broken(r); !slices.Equal(got, want) {
				t.Errorf("the bad twin breaks %v, want %v", got, want)
				for _, f := range r.Findings {
					t.Logf("%s %s:%d %s: %s", f.Level, f.File, f.Line, f.Rule, f.Message)
				}
			}
			for _, f := range r.Findings {
				data, err := fs.ReadFile(root, f.File)
				if err != nil || f.Line < 1 || f.Line > bytes.Count(data, []byte("\n"))+1 {
					t.Errorf("%s points to %s:%d: %v", f.Rule, f.File, f.Line, err)
				}
				if f.Message == "" || f.Why == "" || f.Fix == "" || f.Level.rank() < 0 {
					t.Errorf("%s lacks something: %+v", f.Rule, f)
				}
			}
			root, o, _ = fixture(t, rule.ID, "good")
			for _, f := range check(t, root, o).Findings {
				t.Errorf("the good twin: %s %s:%d %s: %s", f.Level, f.File, f.Line, f.Rule, f.Message)
			}
		})
	}
	files, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(files) != len(Rules()) {
		t.Errorf("%d fixtures for %d rules: %v", len(files), len(Rules()), err)
	}
}

// TestDocumentation: docs/doctor.md describes each rule once, in the order of the list, with its level.
func TestDocumentation(t *testing.T) {
	data, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^### `([a-z-]+)` \\((error|warn|info)\\)$").FindAllStringSubmatch(string(data), -1) {
		got = append(got, m[1]+" "+m[2])
	}
	for _, r := range Rules() {
		want = append(want, fmt.Sprintf("%s %s", r.ID, r.Level))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/doctor.md (-rules +docs):\n%s", diff)
	}
}

// TestFix: what --fix writes removes its finding, changes nothing else, parses, and has nothing left to do.
func TestFix(t *testing.T) {
	fixed := map[string]bool{}
	for _, rule := range Rules() {
		for _, ending := range []string{"\n", "\r\n"} {
			root, o, _ := fixture(t, rule.ID, "bad")
			before := map[string]string{}
			for name, f := range root {
				f.Data = bytes.ReplaceAll(f.Data, []byte("\n"), []byte(ending))
				before[name] = string(f.Data)
			}
			write := func(name string, data []byte) error {
				root[name] = &fstest.MapFile{Data: data, Mode: 0o644}
				return nil
			}
			was := check(t, root, o)
			fixable := slices.ContainsFunc(was.Findings, func(f Finding) bool { return f.Rule == rule.ID && f.Fixable })
			done, r, err := Fix(root, o, write)
			if err != nil {
				t.Errorf("%s: %v", rule.ID, err)
				continue
			}
			if fixable {
				fixed[rule.ID] = true
				if slices.Contains(broken(r), rule.ID) || len(done) == 0 {
					t.Errorf("%s: still there after --fix:\n%s", rule.ID, root[".github/workflows/release.yml"].Data)
				}
			}
			for _, id := range broken(r) {
				if !slices.Contains(broken(was), id) {
					t.Errorf("%s: --fix breaks %s", rule.ID, id)
				}
			}
			for name, f := range root {
				lines := strings.Split(string(f.Data), ending)
				for _, l := range strings.Split(before[name], ending) {
					if strings.Contains(l, "#") && !slices.Contains(lines, l) && !strings.Contains(string(f.Data), l[strings.Index(l, "#"):]) {
						t.Errorf("%s: --fix lost the comment of %q", rule.ID, l)
					}
				}
				if len(done) == 0 && string(f.Data) != before[name] {
					t.Errorf("%s: %s changed, and nothing was mended", rule.ID, name)
				}
				if ending == "\r\n" && strings.Count(string(f.Data), "\n") != strings.Count(string(f.Data), "\r\n") {
					t.Errorf("%s: %s has mixed line endings", rule.ID, name)
				}
			}
			again, _, err := Fix(root, o, func(name string, data []byte) error {
				t.Errorf("%s: a second run writes %s", rule.ID, name)
				return write(name, data)
			})
			if err != nil || len(again) != 0 {
				t.Errorf("%s: a second run mends %v: %v", rule.ID, again, err)
			}
		}
	}
	want := []string{"cache-in-publish", "id-token-caller", "id-token-missing", "permissions-missing", "provenance-missing",
		"registry-url-missing", "repository-case", "repository-directory", "repository-missing", "unlocked-install"}
	var got []string
	for id := range fixed {
		got = append(got, id)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules that --fix mends (-want +got):\n%s", diff)
	}
}

func TestSARIF(t *testing.T) {
	root, o, _ := fixture(t, "provenance-missing", "bad")
	var b bytes.Buffer
	r := check(t, root, o)
	if err := r.WriteSARIF(&b, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(r.Findings) {
		t.Fatalf("%s", b.Bytes())
	}
	prints := map[string]bool{}
	for i, res := range log.Runs[0].Results {
		l := res.Locations[0].PhysicalLocation
		if log.Runs[0].Tool.Driver.Rules[res.RuleIndex].ID != res.RuleID || res.Message.Text == "" || l.Region.StartLine != r.Findings[i].Line || strings.HasPrefix(l.ArtifactLocation.URI, "/") {
			t.Errorf("result %+v", res)
		}
		prints[res.PartialFingerprints["assay/v1"]] = true
	}
	if len(prints) != len(r.Findings) {
		t.Error("two findings share a fingerprint")
	}
	// A line more above changes no fingerprint.
	name := ".github/workflows/release.yml"
	root[name].Data = append([]byte("# moved\n"), root[name].Data...)
	var moved bytes.Buffer
	if err := check(t, root, o).WriteSARIF(&moved, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	for p := range prints {
		if !strings.Contains(moved.String(), p) {
			t.Error("a fingerprint depends on the line")
		}
	}
}
