package npm_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"assay/internal/npm"
)

var nameTests = []struct {
	name  string
	valid bool
}{
	{"react", true},
	{"@babel/core", true},
	{"JSONStream", true},
	{"@Acme/Widget", true},
	{"lodash.merge", true},
	{"a_b-c.d", true},
	{"crazy!", true},
	{"it's", true},
	{"~x(y)*", true},
	{"@sco!pe/x~", true},
	{"@scope/_x", true},
	{"@scope/-x", true},
	{"@-/x", true},
	{"@scope/node_modules", true},
	{"http", true}, // a core module's name
	{"1", true},
	{strings.Repeat("x", 214), true},

	{"", false},
	{".x", false},
	{"..", false},
	{"_x", false},
	{"-x", false},
	{"-", false},
	{"node_modules", false},
	{"Node_Modules", false},
	{"favicon.ico", false},
	{" x", false},
	{"x ", false},
	{"x y", false},
	{"x\n", false},
	{"x\x00", false},
	{"ünicode", false},
	{"kelvin\u212a", false},
	{"a/b", false},
	{"a\\b", false},
	{"@a", false},
	{"@/x", false},
	{"@a/", false},
	{"@a/b/c", false},
	{"@a/.b", false},
	{"@a/..", false},
	{"@a@b/c", false},
	{"a@1.0.0", false},
	{"%2e%2e", false},
	{"a%2fb", false},
	{"a?b", false},
	{"a#b", false},
	{"a:b", false},
	{strings.Repeat("x", 215), false},
}

func TestCheckName(t *testing.T) {
	for _, tt := range nameTests {
		if err := npm.CheckName(tt.name); (err == nil) != tt.valid {
			t.Errorf("CheckName(%q) = %v, want valid: %t", tt.name, err, tt.valid)
		}
	}
}

// TestCheckNameLikeNPM compares with validate-npm-package-name, on the table and on random names of
// troublesome characters.
func TestCheckNameLikeNPM(t *testing.T) {
	var names []string
	for _, tt := range nameTests {
		names = append(names, tt.name)
	}
	names = append(names, randomStrings(3000, "@//..-_~'!()*aZ0 %é\\:+\t", 8)...)
	valid := npmJS[bool](t, `n => require("validate-npm-package-name")(n).validForOldPackages`, names)
	for i, name := range names {
		want := valid[i] && len(name) <= 214 // stricter: there is no such package
		if err := npm.CheckName(name); (err == nil) != want {
			t.Errorf("CheckName(%q) = %v, npm says %t", name, err, want)
		}
	}
}

func TestNameParts(t *testing.T) {
	tests := []struct{ name, scope, escaped, tarball string }{
		{"widget", "", "widget", "widget/-/widget-1.0.0.tgz"},
		{"@acme/widget", "@acme", "@acme%2fwidget", "@acme/widget/-/widget-1.0.0.tgz"},
		{"Crazy!", "", "Crazy!", "Crazy!/-/Crazy!-1.0.0.tgz"},
	}
	for _, tt := range tests {
		id := npm.ID{Name: tt.name, Version: "1.0.0"}
		if got := npm.Scope(tt.name); got != tt.scope {
			t.Errorf("Scope(%q) = %q, want %q", tt.name, got, tt.scope)
		}
		if got := npm.EscapeName(tt.name); got != tt.escaped {
			t.Errorf("EscapeName(%q) = %q, want %q", tt.name, got, tt.escaped)
		}
		if got := npm.TarballPath(id); got != tt.tarball {
			t.Errorf("TarballPath(%v) = %q, want %q", id, got, tt.tarball)
		}
		if got, want := id.String(), tt.name+"@1.0.0"; got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
		if err := id.Check(); err != nil {
			t.Errorf("Check(%v): %v", id, err)
		}
	}
	for _, id := range []npm.ID{{}, {Name: "x"}, {Version: "1.0.0"}, {Name: "../x", Version: "1.0.0"}, {Name: "x", Version: "1.0.0/.."}} {
		if id.Check() == nil {
			t.Errorf("Check(%q) is nil", id.String())
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, tt := range nameTests {
		f.Add(tt.name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if npm.CheckName(name) != nil {
			return
		}
		// A good name is one path segment, or a scope and one, wherever it is put.
		if strings.ContainsAny(name, "\\%?#: \t\r\n\x00") || strings.Count(name, "/") > 1 ||
			strings.Contains("/"+name+"/", "/../") || strings.Contains("/"+name+"/", "/./") {
			t.Errorf("CheckName accepts %q", name)
		}
		id := npm.ID{Name: name, Version: "1.0.0"}
		if got, err := npm.ParsePURL(id.PURL()); err != nil || got != id {
			t.Errorf("ParsePURL(%q) = %v, %v", id.PURL(), got, err)
		}
	})
}

// randomStrings returns n strings of up to most characters of an alphabet, always the same ones.
func randomStrings(n int, alphabet string, most int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []rune(alphabet)
	all := make([]string, n)
	for i := range all {
		s := make([]rune, random.IntN(most+1))
		for j := range s {
			s[j] = letters[random.IntN(len(letters))]
		}
		all[i] = string(s)
	}
	return all
}
