package npm_test

import (
	"strings"
	"testing"

	"assay/internal/npm"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParsePURLParts(t *testing.T) {
	id := func(name, version string) npm.ID { return npm.ID{Name: name, Version: version} }
	tests := []struct {
		in      string
		want    npm.PURLParts
		wantErr string
	}{
		{in: "pkg:npm/sigstore@2.0.0", want: npm.PURLParts{ID: id("sigstore", "2.0.0")}},
		{in: "pkg:npm/%40acme/widget@1.2.3", want: npm.PURLParts{ID: id("@acme/widget", "1.2.3")}},
		{in: "pkg:npm/%40acme%2Fwidget@1.2.3", want: npm.PURLParts{ID: id("@acme/widget", "1.2.3")}},
		{in: "pkg:npm/%40acme%2fwidget@1.2.3", want: npm.PURLParts{ID: id("@acme/widget", "1.2.3")}},
		{in: "pkg:npm/@acme/widget@1.2.3", want: npm.PURLParts{ID: id("@acme/widget", "1.2.3")}},
		{in: "pkg:npm/@acme/widget", want: npm.PURLParts{ID: id("@acme/widget", "")}},
		{in: "pkg:npm/widget", want: npm.PURLParts{ID: id("widget", "")}},
		{in: "pkg:npm/JSONStream@1.3.5", want: npm.PURLParts{ID: id("JSONStream", "1.3.5")}},
		{in: "pkg:npm/x@1.0.0+build", want: npm.PURLParts{ID: id("x", "1.0.0+build")}},
		{in: "pkg:npm/x@1.0.0%2Bbuild", want: npm.PURLParts{ID: id("x", "1.0.0+build")}},
		{in: "PKG:NPM/x@1.0.0", want: npm.PURLParts{ID: id("x", "1.0.0")}},
		{in: "pkg://npm/x@1.0.0", want: npm.PURLParts{ID: id("x", "1.0.0")}},
		{
			in: "pkg:npm/juice-shop@14.1.1?vcs_url=git%2Bhttps%3A//github.com/juice-shop/juice-shop.git",
			want: npm.PURLParts{ID: id("juice-shop", "14.1.1"), Qualifiers: map[string]string{
				"vcs_url": "git+https://github.com/juice-shop/juice-shop.git",
			}},
		},
		{
			in: "pkg:npm/x@1.0.0?vcs_url=git+ssh://git@github.com/o/r.git&Checksum=sha1:ab&empty=#sub/path/",
			want: npm.PURLParts{ID: id("x", "1.0.0"), Subpath: "sub/path", Qualifiers: map[string]string{
				"vcs_url": "git+ssh://git@github.com/o/r.git", "checksum": "sha1:ab",
			}},
		},
		{in: "pkg:npm/x@1.0.0?", want: npm.PURLParts{ID: id("x", "1.0.0")}},

		{in: "", wantErr: `does not start with "pkg:"`},
		{in: "x@1.0.0", wantErr: `does not start with "pkg:"`},
		{in: "pkg:", wantErr: "is not of type npm"},
		{in: "pkg:npm", wantErr: "is not of type npm"},
		{in: "pkg:npm/", wantErr: "is empty"},
		{in: "pkg:pypi/x@1.0.0", wantErr: "is not of type npm"},
		{in: "pkg:npm/x@", wantErr: "has an @ without a version"},
		{in: "pkg:npm/x%", wantErr: "malformed percent escape"},
		{in: "pkg:npm/x%4", wantErr: "malformed percent escape"},
		{in: "pkg:npm/x%zz", wantErr: "malformed percent escape"},
		{in: "pkg:npm/x%00@1.0.0", wantErr: "control character"},
		{in: "pkg:npm/x@1.0.0\n", wantErr: "control character"},
		{in: "pkg:npm/%252e%252e@1.0.0", wantErr: "URL-safe"}, // decoded once, never twice
		{in: "pkg:npm/%2e%2e/x@1.0.0", wantErr: "no @scope"},
		{in: "pkg:npm/acme/widget@1.0.0", wantErr: "no @scope"},
		{in: "pkg:npm//x@1.0.0", wantErr: "no @scope"},
		{in: "pkg:npm/%40a/b/c@1.0.0", wantErr: "URL-safe"},
		{in: "pkg:npm/x@1.0.0?a=1&A=2", wantErr: "twice"},
		{in: "pkg:npm/x@1.0.0?=1", wantErr: "without a key"},
		{in: "pkg:npm/x@1.0.0?a%62=1", wantErr: "malformed key"},
		{in: "pkg:npm/" + strings.Repeat("x", 20_000), wantErr: "longer than"},
	}
	for _, tt := range tests {
		got, err := npm.ParsePURLParts(tt.in)
		t.Run(tt.in[:min(len(tt.in), 60)], func(t *testing.T) {
			checkError(t, err, tt.wantErr)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParsePURL(t *testing.T) {
	tests := []struct{ in, want, wantErr string }{
		{"pkg:npm/%40acme/widget@1.0.0+b", "@acme/widget@1.0.0+b", ""},
		{"pkg:npm/x", "", "MAJOR.MINOR.PATCH"},
		{"pkg:npm/x@latest", "", "MAJOR.MINOR.PATCH"},
		{"pkg:npm/x@1.0.0?vcs_url=git%2Bhttps://evil.example/x", "", "qualifiers"},
		{"pkg:npm/x@1.0.0#sub", "", "qualifiers or a subpath"},
		{"pkg:npm/x@1.0.0@2.0.0", "", "URL-safe"},
		{"pkg:npm/x@1.0.0%0a", "", "control character"},
		{"pkg:npm/x@1.0.0 ", "", "MAJOR.MINOR.PATCH"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := npm.ParsePURL(tt.in)
			checkError(t, err, tt.wantErr)
			if err == nil && got.String() != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPURLLikeNPM(t *testing.T) {
	specs := []string{"sigstore@2.0.0", "@acme/widget@1.2.3", "JSONStream@1.3.5", "@a/b@1.0.0-rc.1", "crazy!@0.0.1", "x@1.0.0+build.1"}
	for i, want := range npmJS[string](t, `s => require("npm-package-arg").toPurl(s)`, specs) {
		at := strings.LastIndexByte(specs[i], '@')
		id := npm.ID{Name: specs[i][:at], Version: specs[i][at+1:]}
		if got := id.PURL(); got != want {
			t.Errorf("PURL(%v) = %q, npm says %q", id, got, want)
		}
		if got, err := npm.ParsePURL(want); err != nil || got != id {
			t.Errorf("ParsePURL(%q) = %v, %v", want, got, err)
		}
	}
}

// TestPURLRoundTrip: what is printed parses to the same parts, however odd.
func TestPURLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := npm.PURLParts{
			ID: npm.ID{
				Name:    rapid.StringMatching(`(@[a-z!~]{1,4}/)?[a-zA-Z0-9][a-zA-Z0-9._~'!()*-]{0,6}`).Draw(t, "name"),
				Version: rapid.StringMatching(`[ -~é]{0,8}`).Draw(t, "version"),
			},
			Subpath: strings.Trim(rapid.StringMatching(`[ -~é]{0,8}`).Draw(t, "subpath"), "/"),
		}
		if npm.CheckName(p.ID.Name) != nil {
			t.Skip("no name")
		}
		qualifiers := rapid.MapOf(rapid.StringMatching(`[a-z][a-z0-9._-]{0,3}`), rapid.StringMatching(`[ -~é]{1,8}`)).Draw(t, "qualifiers")
		if len(qualifiers) > 0 {
			p.Qualifiers = qualifiers
		}
		got, err := npm.ParsePURLParts(p.String())
		if err != nil {
			t.Fatalf("%q: %v", p, err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", p, diff)
		}
	})
}

func FuzzParsePURL(f *testing.F) {
	for _, s := range []string{"pkg:npm/%40acme/widget@1.2.3?vcs_url=git%2Bhttps%3A//x#y", "pkg:npm/x", "pkg://npm/@a/b@1", "pkg:npm/x@1.0.0+b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := npm.ParsePURLParts(s)
		if err != nil {
			return
		}
		again, err := npm.ParsePURLParts(p.String())
		if err != nil {
			t.Fatalf("%q printed as %q: %v", s, p, err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatalf("%q printed as %q (-want +got):\n%s", s, p, diff)
		}
		if id, err := npm.ParsePURL(s); err == nil {
			if p.Qualifiers != nil || p.Subpath != "" {
				t.Fatalf("ParsePURL(%q) loses what makes it no registry package", s)
			}
			if back, err := npm.ParsePURL(id.PURL()); err != nil || back != id {
				t.Fatalf("%q became %v, %v", id.PURL(), back, err)
			}
		}
	})
}
