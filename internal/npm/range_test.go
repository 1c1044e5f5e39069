package npm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/npm"
)

func TestRange(t *testing.T) {
	for _, tt := range []struct{ in, has, lacks string }{
		{"", "0.0.0 1.2.3 1.2.3-a", "x"},
		{"*", "0.0.0 1.2.3-a", ""},
		{"1.2.3", "1.2.3 1.2.3+b", "1.2.3-a 1.2.4"},
		{"=v1.2.3", "1.2.3", "1.2.4"},
		{"< 1.2.3", "1.2.2 1.2.3-rc.1 0.0.0-0", "1.2.3"},
		{"<=1.2.3", "1.2.3 1.2.3-a", "1.2.4-0"},
		{">1.2.3", "1.2.4 1.2.4-a 2.0.0", "1.2.3 1.2.3-a"},
		{">1.2", "1.3.0 1.3.0-0", "1.2.9"},
		{"<=1.2", "1.2.9 1.2.0", "1.3.0 1.3.0-0"},
		{">=1.2.3 <2.0.0", "1.2.3 1.9.9 2.0.0-a", "2.0.0 1.2.2"},
		{"1.x || 3.0.0 - 3.2", "1.0.0-0 1.9.0 3.0.0-0 3.2.9", "2.0.0 3.3.0-0 2.0.0-0"},
		{"1.2.3 - 2.3.4-beta", "2.3.4-alpha 1.2.3-0", "2.3.4 1.2.2"},
		{"1.2.3 - 2.3.4", "2.3.4 2.3.4-beta", "2.3.5-0"},
		{"~1.2.3", "1.2.3 1.2.9 1.2.4-a", "1.3.0-0 1.2.3-a 1.2.2"},
		{"~> 1", "1.0.0-0 1.9.9", "2.0.0-0"},
		{"~1.2", "1.2.0-0", "1.3.0-0"},
		{"^1.2.3", "1.2.3 1.9.9", "2.0.0-0 1.2.2"},
		{"^0.2.3", "0.2.3 0.2.9", "0.3.0-0"},
		{"^0.0.3", "0.0.3", "0.0.4-0 0.0.2"},
		{"^0.0", "0.0.0-0 0.0.9", "0.1.0-0"},
		{"^0.x", "0.0.0 0.9.9", "1.0.0-0"},
		{"^1.2.3-beta.2", "1.2.3-beta.3 1.2.3", "1.2.3-beta.1 2.0.0-0"},
		{">*", "", "0.0.0 1.0.0"},
		{">=0.0.0", "0.0.0", "0.0.0-a"},
		{"<1.0.0 || >=2.0.0 <2.1.1 || =3.0.0", "0.1.0 2.1.0 3.0.0", "1.0.0 2.1.1 3.0.1"},
	} {
		r, err := npm.ParseRange(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		for _, v := range strings.Fields(tt.has) {
			if !r.Contains(v) {
				t.Errorf("%q lacks %s", tt.in, v)
			}
		}
		for _, v := range strings.Fields(tt.lacks) {
			if r.Contains(v) {
				t.Errorf("%q has %s", tt.in, v)
			}
		}
	}
	for _, in := range []string{
		"latest", "1.2.3.4", "01.2.3", "1.x.3", "*.1", ">", "1.2.3 -", "<1.2.3-", "^a", "1.2.3 foo", ">=9007199254740992.0.0", "^9007199254740991.0.0", "1.2-beta",
		strings.Repeat("1", 300) + ".0.0", strings.Repeat("1||", 1001), strings.Repeat(">1 ", 2000), strings.Repeat(" ", 17<<10), "git://x", "1.2.3 || >",
	} {
		if r, err := npm.ParseRange(in); err == nil {
			t.Errorf("%.60q is no range", in)
		} else if r.Contains("1.0.0") {
			t.Errorf("%.60q: what is no range has versions", in)
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"", "*", "1.x || >=2.5.0 || 5.0.0 - 7.2.3", "^0.0", "~> 1", ">=1.2.3-a.b <2", "1.2.3+b", "< 0"} {
		f.Add(s, "1.2.3-a")
	}
	f.Fuzz(func(t *testing.T, text, version string) {
		r, err := npm.ParseRange(text)
		if err != nil && r.Contains(version) {
			t.Errorf("%q is no range (%v), and has %q", text, err, version)
		}
		if r.Contains(version) && npm.CheckVersion(version) != nil {
			t.Errorf("%q has %q, which is no version", text, version)
		}
		if err == nil && npm.CheckVersion(version) == nil {
			if both, err := npm.ParseRange(text + " || " + version); err != nil || !both.Contains(version) {
				t.Errorf("%q || %s lacks it: %v", text, version, err)
			}
		}
	})
}

// TestRangeLikeNode compares with node-semver, with the options that npm audit uses but for loose.
func TestRangeLikeNode(t *testing.T) {
	dir := semverModule(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	number := func() string { return pick("0", "0", "1", "2", "3", "10", "9007199254740991") }
	part := func() string { return pick(number(), number(), number(), "x", "*", "X") }
	version := func() string {
		v := number() + "." + number() + "." + number()
		if rnd.IntN(3) == 0 {
			v += pick("-0", "-a", "-a.1", "-1", "-a.b", "-10", "--")
		}
		return v + pick("", "", "", "+b.1")
	}
	partial := func() string {
		switch rnd.IntN(5) {
		case 0:
			return pick("v", "") + part()
		case 1:
			return part() + "." + part()
		case 2:
			return part() + "." + part() + "." + part()
		default:
			return version()
		}
	}
	comparator := func() string {
		return pick("", "", "=", "<", "<=", ">", ">=", "~", "^", "~>", ">= ", "< ", "^ ", "~ ") + partial()
	}
	type asked struct {
		Range    string   `json:"range"`
		Versions []string `json:"versions"`
	}
	var all []asked
	for range 6000 {
		var alternatives []string
		for range 1 + rnd.IntN(3) {
			if rnd.IntN(6) == 0 {
				alternatives = append(alternatives, partial()+" - "+partial())
				continue
			}
			var words []string
			for range 1 + rnd.IntN(2) {
				words = append(words, comparator())
			}
			alternatives = append(alternatives, strings.Join(words, " "))
		}
		a := asked{Range: strings.Join(alternatives, pick("||", " || "))}
		for range 12 {
			a.Versions = append(a.Versions, version())
		}
		all = append(all, a)
	}
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "-e", `
const semver = require('semver'), opts = {includePrerelease: true};
const all = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(all.map(a => semver.validRange(a.range, opts) === null ? null : a.versions.map(v => semver.satisfies(v, a.range, opts)))));`)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var want [][]bool
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	valid := 0
	for i, a := range all {
		r, err := npm.ParseRange(a.Range)
		if (err == nil) != (want[i] != nil) {
			t.Errorf("%q: %v, and node-semver takes it: %t", a.Range, err, want[i] != nil)
			continue
		}
		if err != nil {
			continue
		}
		valid++
		for j, v := range a.Versions {
			if got := r.Contains(v); got != want[i][j] {
				t.Errorf("%q has %s: %t, and node-semver says %t", a.Range, v, got, want[i][j])
			}
		}
	}
	if valid < len(all)/2 {
		t.Errorf("only %d of %d ranges were valid", valid, len(all))
	}
}

// semverModule is a directory that node finds its module semver from.
func semverModule(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "assay-test", "semver-7.8.6")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "semver", "package.json")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("there is no place to install semver in: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "semver@7.8.6")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install semver: %v: %s", err, fmt.Sprintf("%.300s", out))
	}
	return dir
}
