package audit

import (
	"fmt"
	"strings"
	"testing"

	"assay/internal/policy"
)

// TestReadPackument: what a packument says of its versions, in the order in which they came out.
func TestReadPackument(t *testing.T) {
	versions, doc, err := readPackument([]byte(`{"name":"left","time":{"created":"2020-01-01T00:00:00.000Z","1.0.0":"2020-01-01T00:00:00.000Z","1.0.2":"2020-03-01T00:00:00.000Z","1.0.1":"2020-02-01T00:00:00.000Z","1.0.3":"yesterday"},
		"versions":{
		"1.0.2":{"scripts":{"postinstall":"node x.js","test":"x"},"dependencies":{"a":"1","b":2},"optionalDependencies":{"c":"github:x/y"},"bin":{"left":"x.js"},"gypfile":true,
			"dist":{"attestations":{"url":"x"}},"deprecated":"no","_npmUser":{"name":"GitHub Actions","trustedPublisher":{"id":"github"},"approver":{"name":"p"}},"repository":{"type":"git","url":"git+https://github.com/Acme/left.git"}},
		"1.0.0":{"scripts":["old"],"dependencies":"old","dist":7,"_npmUser":"old","bin":"x.js","deprecated":false,"repository":7},
		"1.0.3":{"scripts":{"install":"node-gyp rebuild"}},
		"not a version":{}, "1.0.9":7}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range versions {
		got = append(got, fmt.Sprintf("%s %s announced=%t removed=%t %q %q trusted=%t approved=%t %q %v", v.Version, v.Time.Format("2006-01-02"), v.Announced, v.Removed, v.Deprecated, v.User, v.Trusted, v.Approved, v.Repository, doc.manifest(v.Version)))
	}
	want := []string{
		`1.0.3 0001-01-01 announced=false removed=false "" "" trusted=false approved=false "" {map[install:node-gyp rebuild] true map[] map[]}`,
		`1.0.0 2020-01-01 announced=false removed=false "" "" trusted=false approved=false "" {map[] false map[] map[(its own name):x.js]}`,
		`1.0.1 2020-02-01 announced=false removed=true "" "" trusted=false approved=false "" {map[] false map[] map[]}`,
		`1.0.2 2020-03-01 announced=true removed=false "no" "GitHub Actions" trusted=true approved=true "https://github.com/Acme/left" {map[postinstall:node x.js] true map[a:1 b: c:github:x/y] map[left:x.js]}`,
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	for _, bad := range []string{"", "[]", `"x"`, "{", `{"versions":[]}`} {
		if _, _, err := readPackument([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	var many strings.Builder
	many.WriteString(`{"time":{`)
	for i := range maxVersions + 1 {
		fmt.Fprintf(&many, `"1.0.%d":"x",`, i)
	}
	if _, _, err := readPackument([]byte(many.String() + `"a":""}}`)); err == nil {
		t.Error("more versions were read than there may be")
	}
}

// A manifest that is larger than any is told apart from another such by its digest.
func TestLargeManifest(t *testing.T) {
	read := func(script string) policy.Manifest {
		versions, doc, err := readPackument([]byte(`{"versions":{"1.0.0":{"scripts":{"preinstall":"` + script + `"},"dependencies":{"a":"` + strings.Repeat("x", 1<<20) + `"}}}}`))
		if err != nil || len(versions) != 1 {
			t.Fatal(err, versions)
		}
		return doc.manifest(versions[0].Version)
	}
	a, b := read("true"), read("evil")
	if len(a.Scripts["install"]) > 200 || a.Scripts["install"] == b.Scripts["install"] || a.Dependencies != nil {
		t.Errorf("%v, %v", a, b)
	}
}

func TestReadAdvisories(t *testing.T) {
	all, err := readAdvisories([]byte(`{"left":[
		{"id":1,"title":"Prototype pollution","url":"https://github.com/advisories/GHSA-1","severity":"high","vulnerable_versions":"<1.2.0","cwe":["CWE-1321"]},
		{"id":2,"title":"Malware in left","vulnerable_versions":"=1.3.0"},
		{"id":3,"title":"Odd","vulnerable_versions":"whenever"},
		{"id":4,"title":"Something","vulnerable_versions":"1.4.0","cwe":["CWE-79","CWE-506"]},
		{"id":5,"title":"Allows malicious code to be run","vulnerable_versions":"1.5.0"}, 7, null],
		"right":{"id":1},"none":[]}`))
	if err != nil || len(all) != 1 || len(all["left"]) != 5 {
		t.Fatalf("%v, %+v", err, all)
	}
	for _, tt := range []struct{ version, subject, want string }{
		{"1.1.0", "1.6.0", "true false Prototype pollution https://github.com/advisories/GHSA-1"},
		{"1.2.0", "1.6.0", "false false "},
		{"1.2.0", "1.2.0", "true false Odd"}, // what cannot be read names what is to be accepted
		{"1.3.0", "1.6.0", "true true Malware in left"},
		{"1.4.0", "1.6.0", "true true Something"},
		{"1.5.0", "1.6.0", "true false Allows malicious code to be run"},
	} {
		v := policy.Version{Version: tt.version}
		for _, a := range all["left"] {
			a.apply(&v, tt.subject)
		}
		if got := fmt.Sprintf("%t %t %s", v.Vulnerable, v.Malicious, v.Advisory); got != tt.want {
			t.Errorf("%s beside %s: %s, want %s", tt.version, tt.subject, got, tt.want)
		}
	}
	for _, bad := range []string{"", "[]", "7", "{"} {
		if _, err := readAdvisories([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzReadPackument(f *testing.F) {
	f.Add([]byte(`{"time":{"1.0.0":"2020-01-01T00:00:00.000Z","1.0.1":"x"},"versions":{"1.0.0":{"scripts":{"install":"x"},"dist":{"attestations":{}}}}}`))
	f.Add([]byte(`{"versions":{"1.0.0":{"_npmUser":{"name":"a"},"bin":"x","repository":"github:a/b"}},"time":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		versions, doc, err := readPackument(data)
		if err != nil && versions != nil {
			t.Error("an error, and versions")
		}
		for i := range versions {
			if i > 0 && versions[i].Time.Before(versions[i-1].Time) {
				t.Error("out of order")
			}
			m := doc.manifest(versions[i].Version)
			size := 0
			for _, texts := range []map[string]string{m.Scripts, m.Dependencies, m.Bin} {
				for name, text := range texts {
					size += len(name) + len(text)
				}
			}
			if size > maxManifest {
				t.Error("a manifest is kept that is larger than any")
			}
			if len(versions[i].User) > 256 || len(versions[i].Repository) > 256 || len(versions[i].Deprecated) > 256 {
				t.Error("a text is kept that is longer than any name")
			}
		}
	})
}

func FuzzReadAdvisories(f *testing.F) {
	f.Add([]byte(`{"left":[{"title":"Malware in x","vulnerable_versions":"<1.2.0 || 3.x","cwe":["CWE-506"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := readAdvisories(data)
		if err != nil && all != nil {
			t.Error("an error, and advisories")
		}
		for _, list := range all {
			for _, a := range list {
				v := policy.Version{Version: "1.0.0"}
				a.apply(&v, "2.0.0")
				if v.Malicious && !v.Vulnerable || v.Vulnerable && v.Advisory == "" {
					t.Errorf("%+v", v)
				}
			}
		}
	})
}
