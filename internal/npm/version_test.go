package npm_test

import (
	"fmt"
	"strings"
	"testing"

	"assay/internal/npm"
	"pgregory.net/rapid"
)

// orderedVersions are in ascending order; the first are semver.org's own example (section 11).
var orderedVersions = []string{
	"0.0.0-0", "0.0.0", "0.0.10", "0.1.0", "0.10.0",
	"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0",
	"1.0.1--", "1.0.1-0A", "1.0.1-A", "1.0.1-a-", "1.0.1-a0", "1.0.1",
	"1.2.0", "1.10.0-9007199254740991", "1.10.0-90071992547409910", "1.10.0-90071992547409911", "1.10.0",
	"2.0.0", "10.0.0", "9007199254740991.0.0",
}

var invalidVersions = []string{
	"", "1", "1.2", "1.2.3.4", "v1.2.3", "=1.2.3", " 1.2.3", "1.2.3 ", "1.2.3\n", "01.2.3", "1.02.3", "1.2.03",
	"1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3-a.", "1.2.3-ä", "1.2.3+", "1.2.3+a..b", "1.2.3+a+b", "1.2.x", "*", "latest",
	"-1.2.3", "1.-2.3", "9007199254740992.0.0", "0.99999999999999999999.0", "1.2.3-a_b", "1.2.3/../4", "１.2.3",
	"1.0.0-" + strings.Repeat("a", 251),
}

func TestCompareVersions(t *testing.T) {
	for i, a := range orderedVersions {
		if err := npm.CheckVersion(a); err != nil {
			t.Error(err)
		}
		for j, b := range orderedVersions {
			if got, want := sign(npm.CompareVersions(a, b)), sign(i-j); got != want {
				t.Errorf("CompareVersions(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
		if npm.CompareVersions(a, a+"+build.1") != 0 {
			t.Errorf("build metadata orders %s", a)
		}
	}
	for _, bad := range invalidVersions {
		if err := npm.CheckVersion(bad); err == nil {
			t.Errorf("CheckVersion(%q) is nil", bad)
		}
		if npm.CompareVersions(bad, "0.0.0-0") >= 0 || npm.CompareVersions("0.0.0-0", bad) <= 0 {
			t.Errorf("%q does not come before every version", bad)
		}
	}
}

func TestReleaseLine(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "1", "12.0.0-rc.1": "12", "0.3.1": "0.3", "0.0.9": "0.0", "0.10.0+b": "0.10", "x": "", "": "",
	} {
		if got := npm.ReleaseLine(version); got != want {
			t.Errorf("ReleaseLine(%q) = %q, want %q", version, got, want)
		}
	}
	for version, want := range map[string]bool{"1.0.0-rc.1": true, "1.0.0": false, "1.0.0+a-b": false, "nonsense-": false} {
		if got := npm.IsPrerelease(version); got != want {
			t.Errorf("IsPrerelease(%q) = %t", version, got)
		}
	}
}

func TestVersionsLikeNPM(t *testing.T) {
	versions := append([]string(nil), orderedVersions...)
	versions = append(versions, invalidVersions...)
	for _, s := range randomStrings(2000, "0123.-+ab", 9) {
		versions = append(versions, s, "1.0."+s, "1.0.0-"+s, "1.0.0-a."+s)
	}
	// A leading "v" and outer white space, which npm strips, are no part of a version as the registry has it.
	valid := npmJS[bool](t, `v => v === v.trim() && v[0] !== "v" && require("semver").valid(v) !== null`, versions)
	var pairs []string
	for i, v := range versions {
		if err := npm.CheckVersion(v); (err == nil) != valid[i] {
			t.Errorf("CheckVersion(%q) = %v, npm says %t", v, err, valid[i])
		}
		if w := versions[(i*7+3)%len(versions)]; valid[i] && npm.CheckVersion(w) == nil {
			if !strings.Contains(v+w, "90071992547409910") && !strings.Contains(v+w, "90071992547409911") { // npm rounds these
				pairs = append(pairs, v+" "+w)
			}
		}
	}
	if len(pairs) < 100 {
		t.Fatalf("only %d pairs to compare", len(pairs))
	}
	order := npmJS[int](t, `p => require("semver").compare(...p.split(" "))`, pairs)
	for i, pair := range pairs {
		a, b, _ := strings.Cut(pair, " ")
		if got := sign(npm.CompareVersions(a, b)); got != order[i] {
			t.Errorf("CompareVersions(%q, %q) = %d, npm says %d", a, b, got, order[i])
		}
	}
}

// TestCompareVersionsIsAnOrder checks that comparing is antisymmetric and transitive, on valid and invalid text alike.
func TestCompareVersionsIsAnOrder(t *testing.T) {
	version := rapid.StringMatching(`[0-2]\.[0-2]\.[01](-[0-2a]{1,2}(\.[0-2a]{1,2})?)?|[0-9a.-]{0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := version.Draw(t, "a"), version.Draw(t, "b"), version.Draw(t, "c")
		if sign(npm.CompareVersions(a, b)) != -sign(npm.CompareVersions(b, a)) {
			t.Fatalf("%q and %q are not antisymmetric", a, b)
		}
		if npm.CompareVersions(a, b) <= 0 && npm.CompareVersions(b, c) <= 0 && npm.CompareVersions(a, c) > 0 {
			t.Fatalf("%q, %q, %q are not transitive", a, b, c)
		}
	})
}

func FuzzCheckVersion(f *testing.F) {
	for _, v := range append(orderedVersions, invalidVersions...) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if npm.CheckVersion(v) != nil {
			return
		}
		if len(v) > 256 || strings.ContainsAny(v, "/\\%@ \n") {
			t.Errorf("CheckVersion accepts %q", v)
		}
		if npm.CompareVersions(v, v) != 0 || npm.ReleaseLine(v) == "" {
			t.Errorf("%q is not equal to itself or has no release line", v)
		}
	})
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func ExampleID_PURL() {
	fmt.Println(npm.ID{Name: "@acme/widget", Version: "1.2.3+build"}.PURL())
	// Output: pkg:npm/%40acme/widget@1.2.3+build
}
