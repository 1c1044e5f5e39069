package verify_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/npm"
	"assay/internal/verify"
)

// manifestRow runs the check over a version document and the package.json of a tarball.
func manifestRow(t testing.TB, document, manifest string) verify.Result {
	t.Helper()
	return manifestRowOf(t, document, &evidence.Tarball{Manifest: []byte(manifest)})
}

func manifestRowOf(t testing.TB, document string, tarball *evidence.Tarball) verify.Result {
	t.Helper()
	o := verify.Run(verify.Input{
		Package:  verify.Package{ID: npm.ID{Name: "p", Version: "1.0.0"}},
		Evidence: &evidence.Evidence{Document: served([]byte(document)), Tarball: tarball},
	})
	return row(t, o, "manifest")
}

// TestManifestGyp: npm adds an install script on publish where there is a file *.gyp, and else nobody does.
func TestManifestGyp(t *testing.T) {
	const plain, shown = `{"name":"p","version":"1.0.0"}`, `{"name":"p","version":"1.0.0","scripts":{"install":"node-gyp rebuild"},"gypfile":true}`
	for _, tt := range []struct {
		name, document, manifest string
		gyp                      bool
		want                     string
	}{
		{"as npm does it", shown, plain, true, "pass "},
		{"packed without its sources", shown, plain, false, "pass manifest-stripped"}, // fsevents 2
		{"beside an install script", shown, `{"name":"p","version":"1.0.0","scripts":{"install":"node evil"}}`, true, "fail manifest-install-script"},
		{"beside a preinstall script", `{"name":"p","version":"1.0.0","scripts":{"install":"node-gyp rebuild","preinstall":"x"}}`, `{"name":"p","version":"1.0.0","scripts":{"preinstall":"x"}}`, true, "fail manifest-install-script"},
		{"another script", `{"name":"p","version":"1.0.0","scripts":{"install":"node-gyp rebuild && evil"}}`, plain, true, "fail manifest-install-script"},
		{"another script, without sources", `{"name":"p","version":"1.0.0","scripts":{"install":"node-gyp rebuild "}}`, plain, false, "fail manifest-install-script"},
		{"under another name", `{"name":"p","version":"1.0.0","scripts":{"postinstall":"node-gyp rebuild"}}`, plain, true, "fail manifest-install-script"},
		{"held and not shown", plain, `{"name":"p","version":"1.0.0","scripts":{"install":"node-gyp rebuild"}}`, true, "fail manifest-install-script"},
		{"and that are not built", `{"name":"p","version":"1.0.0","gypfile":false}`, `{"name":"p","version":"1.0.0","gypfile":false}`, true, "pass "},
		{"sources beside a script", `{"name":"p","version":"1.0.0","scripts":{"preinstall":"x"}}`, `{"name":"p","version":"1.0.0","scripts":{"preinstall":"x"}}`, true, "pass "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := manifestRowOf(t, tt.document, &evidence.Tarball{Manifest: []byte(tt.manifest), Gyp: tt.gyp})
			if s := string(got.Status) + " " + got.Reason; s != tt.want {
				t.Errorf("%s, want %s; expected %q, actual %q: %s", s, tt.want, got.Expected, got.Actual, got.Message)
			}
		})
	}
}

func TestManifestConfusion(t *testing.T) {
	const plain = `{"name":"p","version":"1.0.0"}`
	for _, tt := range []struct {
		name, document, manifest, want string // want: "status reason"
	}{
		{"nothing to hide", plain, plain, "pass "},

		// What the tarball holds and the document does not show.
		{"hidden install script", plain, `{"name":"p","version":"1.0.0","scripts":{"postinstall":"node evil"}}`, "fail manifest-install-script"},
		{"other install script", `{"name":"p","version":"1.0.0","scripts":{"preinstall":"a"}}`, `{"name":"p","version":"1.0.0","scripts":{"preinstall":"b"}}`, "fail manifest-install-script"},
		{"gyp shown for another install script", `{"name":"p","version":"1.0.0","scripts":{"install":"node-gyp rebuild"}}`, `{"name":"p","version":"1.0.0","scripts":{"install":"node evil"}}`, "fail manifest-install-script"},
		{"hidden script", plain, `{"name":"p","version":"1.0.0","scripts":{"test":"x"}}`, "fail manifest-script"},
		{"script of a look-alike name", plain, `{"name":"p","version":"1.0.0","scripts":{"pоstinstall":"x"}}`, "fail manifest-script"},
		{"hidden dependency", plain, `{"name":"p","version":"1.0.0","dependencies":{"evil":"1"}}`, "fail manifest-dependency"},
		{"hidden optional dependency", plain, `{"name":"p","version":"1.0.0","optionalDependencies":{"evil":"1"}}`, "fail manifest-dependency"},
		{"hidden peer dependency", plain, `{"name":"p","version":"1.0.0","peerDependencies":{"evil":"1"}}`, "fail manifest-dependency"},
		{"hidden dependency in ancient form", plain, `{"name":"p","version":"1.0.0","dependencies":["evil@1"]}`, "fail manifest-dependency"},
		{"hidden dependency in one string", plain, `{"name":"p","version":"1.0.0","dependencies":"evil"}`, "fail manifest-dependency"},
		{"hidden bundled dependency without an entry", plain, `{"name":"p","version":"1.0.0","dependencies":{"evil":"1"},"bundleDependencies":["evil"]}`, "fail manifest-dependency"},
		{"hidden bundle", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundleDependencies":["a"]}`, "fail manifest-dependency"},
		{"hidden bundle of all", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundledDependencies":true}`, "fail manifest-dependency"},
		{"hidden bundle of what is no dependency", plain, `{"name":"p","version":"1.0.0","bundleDependencies":{"a":"1"}}`, "fail manifest-dependency"},
		{"bundle that is none", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundleDependencies":["a"]}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, "fail manifest-dependency"},
		{"another bundle", `{"name":"p","version":"1.0.0","dependencies":{"a":"1","b":"1"},"bundleDependencies":["a"]}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1","b":"1"},"bundleDependencies":["b"]}`, "fail manifest-dependency"},
		{"other range", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"2"}}`, "fail manifest-dependency"},
		{"other source", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"evil/a"}}`, "fail manifest-dependency"},
		{"other branch", `{"name":"p","version":"1.0.0","dependencies":{"a":"github:o/a#main"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"o/a#evil"}}`, "fail manifest-dependency"},
		{"optional one that is required", `{"name":"p","version":"1.0.0","optionalDependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, "fail manifest-dependency"},
		{"dependency of a look-alike name", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"а":"1"}}`, "fail manifest-dependency"},
		{"hidden command", plain, `{"name":"p","version":"1.0.0","bin":{"node":"evil.js"}}`, "fail manifest-bin"},
		{"hidden command in one string", plain, `{"name":"p","version":"1.0.0","bin":"evil.js"}`, "fail manifest-bin"},
		{"hidden command in an array", plain, `{"name":"p","version":"1.0.0","bin":["evil.js"]}`, "fail manifest-bin"},
		{"other command", `{"name":"p","version":"1.0.0","bin":"a.js"}`, `{"name":"p","version":"1.0.0","bin":"b.js"}`, "fail manifest-bin"},
		{"hidden directory of commands", plain, `{"name":"p","version":"1.0.0","directories":{"bin":"x"}}`, "fail manifest-bin"},
		{"command outside the directory", `{"name":"p","version":"1.0.0","bin":{"a":"y/a"}}`, `{"name":"p","version":"1.0.0","directories":{"bin":"x"}}`, "fail manifest-bin"},
		{"other name", plain, `{"name":"q","version":"1.0.0"}`, "fail manifest-name"},
		{"no name", plain, `{"version":"1.0.0"}`, "fail manifest-name"},
		{"other version", plain, `{"name":"p","version":"1.0.1"}`, "fail manifest-version"},
		{"prerelease", plain, `{"name":"p","version":"1.0.0-rc.1"}`, "fail manifest-version"},
		{"no version", plain, `{"name":"p"}`, "fail manifest-version"},
		{"other repository", `{"name":"p","version":"1.0.0","repository":"o/r"}`, `{"name":"p","version":"1.0.0","repository":"evil/r"}`, "fail manifest-repository"},
		{"hidden repository", plain, `{"name":"p","version":"1.0.0","repository":"evil/r"}`, "fail manifest-repository"},
		{"repository that cannot be read", `{"name":"p","version":"1.0.0","repository":"o/r"}`, `{"name":"p","version":"1.0.0","repository":"svn:o/r"}`, "fail manifest-repository"},

		// What the document brings in: npm installs its dependencies, links its commands, runs its install scripts.
		{"dependency that only the document has", `{"name":"p","version":"1.0.0","dependencies":{"evil":"1"}}`, plain, "fail manifest-dependency"},
		{"range that only the document has", `{"name":"p","version":"1.0.0","dependencies":{"a":"evil/a"}}`, `{"name":"p","version":"1.0.0","bundleDependencies":["a"]}`, "fail manifest-dependency"},
		{"command that only the document has", `{"name":"p","version":"1.0.0","bin":{"node":"index.js"}}`, plain, "fail manifest-bin"},
		{"install script that only the document has", `{"name":"p","version":"1.0.0","scripts":{"postinstall":"curl evil"}}`, plain, "fail manifest-install-script"},

		// Names that readers take in different ways.
		{"the last of two scripts", plain, `{"name":"p","version":"1.0.0","scripts":{},"scripts":{"postinstall":"node evil"}}`, "fail manifest-install-script"},
		{"the first of two scripts", plain, `{"name":"p","version":"1.0.0","scripts":{"postinstall":"node evil"},"scripts":{}}`, "fail manifest-ambiguous"},
		{"the first of two scripts of one name", `{"name":"p","version":"1.0.0","scripts":{"postinstall":"b"}}`, `{"name":"p","version":"1.0.0","scripts":{"postinstall":"node evil","postinstall":"b"}}`, "fail manifest-ambiguous"},
		{"the first of two lists of dependencies", plain, `{"name":"p","version":"1.0.0","dependencies":{"evil":"1"},"dependencies":{}}`, "fail manifest-ambiguous"},
		{"the first of two sources", `{"name":"p","version":"1.0.0","dependencies":{"a":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"evil/a","a":"1"}}`, "fail manifest-ambiguous"},
		{"the first of two names", plain, `{"name":"q","name":"p","version":"1.0.0"}`, "fail manifest-ambiguous"},
		{"two ranges, as an oversight", `{"name":"p","version":"1.0.0","dependencies":{"a":"2"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1","a":"2"}}`, "pass "},
		{"two tests, as an oversight", `{"name":"p","version":"1.0.0","scripts":{"test":"2"}}`, `{"name":"p","version":"1.0.0","scripts":{"test":"1","test":"2"}}`, "pass "},
		{"prototype of scripts", plain, `{"name":"p","version":"1.0.0","scripts":{"__proto__":{"postinstall":"node evil"}}}`, "fail manifest-ambiguous"},
		{"prototype of everything", plain, `{"name":"p","version":"1.0.0","__proto__":{"scripts":{"postinstall":"node evil"}}}`, "fail manifest-ambiguous"},
		{"prototype, escaped", plain, `{"name":"p","version":"1.0.0","\u005f_proto__":{}}`, "fail manifest-ambiguous"},
		{"prototype in the document", `{"name":"p","version":"1.0.0","dependencies":{"__proto__":"1"}}`, plain, "fail manifest-ambiguous"},
		{"a name in other letters means nothing", plain, `{"name":"p","version":"1.0.0","Scripts":{"postinstall":"x"},"Dependencies":{"a":"1"},"BIN":"x"}`, "pass "},
		{"a look-alike name means nothing", plain, `{"name":"p","version":"1.0.0","sсripts":{"postinstall":"x"}}`, "pass "},
		{"a name in other letters does not replace one", `{"name":"p","version":"1.0.0","scripts":{}}`, `{"name":"p","version":"1.0.0","scripts":{"postinstall":"x"},"Scripts":{}}`, "fail manifest-install-script"},

		// What cannot be read.
		{"not JSON", plain, `name: p`, "fail manifest-unreadable"},
		{"empty", plain, ``, "fail manifest-unreadable"},
		{"white space", plain, ` `, "fail manifest-unreadable"},
		{"an array", plain, `[]`, "fail manifest-unreadable"},
		{"two objects", plain, plain + plain, "fail manifest-unreadable"},
		{"cut off", plain, plain[:20], "fail manifest-unreadable"},
		{"endless depth", plain, `{"name":` + strings.Repeat("[", 1<<16), "fail manifest-unreadable"},

		// What npm and others change on publish.
		{"trimmed name", plain, `{"name":" p\n","version":"1.0.0"}`, "pass "},
		{"cleaned version", plain, `{"name":"p","version":" =v1.0.0 "}`, "pass "},
		{"build metadata", plain, `{"name":"p","version":"1.0.0+build.5"}`, "pass "},
		{"loose version", `{"name":"p","version":"1.2.3-beta"}`, `{"name":"p","version":"v01.2.3beta"}`, "pass "},
		{"byte order mark", plain, "\ufeff" + plain, "pass "},
		{"invalid UTF-8", `{"name":"p","version":"1.0.0","author":"` + "\ufffd" + `"}`, `{"name":"p","version":"1.0.0","author":"` + "\xe9" + `"}`, "pass "},
		{"repository made an object", `{"name":"p","version":"1.0.0","repository":{"type":"git","url":"git+https://github.com/o/r.git"}}`, `{"name":"p","version":"1.0.0","repository":"github:o/r"}`, "pass "},
		{"repository in other letters", `{"name":"p","version":"1.0.0","repository":"O/R"}`, `{"name":"p","version":"1.0.0","repository":"o/r"}`, "pass "},
		{"repositories", `{"name":"p","version":"1.0.0","repository":{"type":"git","url":"git://github.com/o/r.git"}}`, `{"name":"p","version":"1.0.0","repositories":["o/r","o/s"]}`, "pass "},
		{"repository that no one can read, twice", `{"name":"p","version":"1.0.0","repository":{"type":"svn","url":"svn:o/r"}}`, `{"name":"p","version":"1.0.0","repository":"svn:o/r"}`, "pass "},
		{"repository as npm 2 wrote it", `{"name":"p","version":"1.0.0","repository":{"type":"git","url":"git://github.com/%3Ao/r.git"}}`, `{"name":"p","version":"1.0.0","repository":{"url":"git://github.com:o/r.git"}}`, "pass "},
		{"server", `{"name":"p","version":"1.0.0","scripts":{"start":"node server.js"}}`, plain, "pass "},
		{"scripts that are none", `{"name":"p","version":"1.0.0","scripts":{"a":"x"}}`, `{"name":"p","version":"1.0.0","scripts":{"a":"x","b":5}}`, "pass "},
		{"search path", `{"name":"p","version":"1.0.0","scripts":{"test":"mocha"}}`, `{"name":"p","version":"1.0.0","scripts":{"test":"./node_modules/.bin/mocha"}}`, "pass "},
		{"optional dependencies repeated", `{"name":"p","version":"1.0.0","dependencies":{"a":"1","b":"1"},"optionalDependencies":{"b":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"optionalDependencies":{"b":"1"}}`, "pass "},
		{"optional dependencies taken out", `{"name":"p","version":"1.0.0","optionalDependencies":{"b":"1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"b":"2"},"optionalDependencies":{"b":"1"}}`, "pass "},
		{"bundled dependencies listed", `{"name":"p","version":"1.0.0","dependencies":{"a":"*"},"bundleDependencies":["a"]}`, `{"name":"p","version":"1.0.0","bundledDependencies":["a"]}`, "pass "},
		{"array of dependencies", `{"name":"p","version":"1.0.0","dependencies":{"a":"","b":"1.0","c":">=2"}}`, `{"name":"p","version":"1.0.0","dependencies":["a","b@1.0","c >=2"]}`, "pass "},
		{"git dependencies", `{"name":"p","version":"1.0.0","dependencies":{"a":"git+https://github.com/o/a.git#v1"}}`, `{"name":"p","version":"1.0.0","dependencies":{"a":"o/a#v1"}}`, "pass "},
		{"command made an object", `{"name":"@s/p","version":"1.0.0","bin":{"p":"cli.js"}}`, `{"name":"@s/p","version":"1.0.0","bin":"./cli.js"}`, "pass "},
		{"commands cleaned", `{"name":"p","version":"1.0.0","bin":{"a":"bin/a.js"}}`, `{"name":"p","version":"1.0.0","bin":{"../a":".\\bin\\..\\..\\bin/a.js","":"x","b":7,"c":""}}`, "pass "},
		{"directory of commands", `{"name":"p","version":"1.0.0","bin":{"a":"bin/a","b":"bin/x/b"},"directories":{"bin":"./bin"}}`, `{"name":"p","version":"1.0.0","directories":{"bin":"./bin"}}`, "pass "},
		{"development", `{"name":"p","version":"1.0.0","devDependencies":{"a":"1"},"_id":"p@1.0.0","readme":"x"}`, `{"name":"p","version":"1.0.0","devDependencies":{"b":"1"}}`, "pass "},

		// What some tools do while they pack: told, for nothing is hidden.
		{"scripts stripped", `{"name":"p","version":"1.0.0","scripts":{"test":"x","build":"y"}}`, plain, "pass manifest-stripped"},
		{"install hook disabled", `{"name":"p","version":"1.0.0","scripts":{"postinstall":"husky"}}`, `{"name":"p","version":"1.0.0","scripts":{"_postinstall":"husky"}}`, "pass manifest-stripped"},
		{"install hook not disabled", `{"name":"p","version":"1.0.0","scripts":{"postinstall":"evil"}}`, `{"name":"p","version":"1.0.0","scripts":{"_postinstall":"husky"}}`, "fail manifest-install-script"},
		{"repository stripped", `{"name":"p","version":"1.0.0","repository":"o/r"}`, plain, "pass manifest-stripped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := manifestRow(t, tt.document, tt.manifest)
			if s := string(got.Status) + " " + got.Reason; s != tt.want {
				t.Errorf("%s, want %s; expected %q, actual %q: %s", s, tt.want, got.Expected, got.Actual, got.Message)
			}
			if got.Status == verify.Fail && got.Reason != "manifest-unreadable" && got.Expected == got.Actual && !strings.Contains(got.Message, "(") {
				t.Errorf("nothing says what differs: %+v", got)
			}
		})
	}
}

// TestManifestOfTarballs reads real archives: which entry counts as package.json is half of the question.
func TestManifestOfTarballs(t *testing.T) {
	const good, evil = `{"name":"p","version":"1.0.0"}`, `{"name":"p","version":"1.0.0","scripts":{"postinstall":"x"}}`
	file := func(name, body string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Uname: body, Mode: 0o644}
	}
	for _, tt := range []struct {
		name, want string
		entries    []tar.Header
	}{
		{"one", "pass ", []tar.Header{file("package/package.json", good)}},
		{"the same twice", "pass ", []tar.Header{file("package/package.json", good), file("package/package.json", good)}},
		{"two, the good one last", "fail manifest-ambiguous", []tar.Header{file("package/package.json", evil), file("package/package.json", good)}},
		{"two, the good one first", "fail manifest-ambiguous", []tar.Header{file("package/package.json", good), file("package/package.json", evil)}},
		{"two in two roots", "fail manifest-ambiguous", []tar.Header{file("package/package.json", good), file("other/package.json", evil)}},
		{"two spellings", "fail manifest-ambiguous", []tar.Header{file("package/package.json", good), file("package/Package.json", evil)}},
		{"a directory in its place", "fail manifest-ambiguous", []tar.Header{{Typeflag: tar.TypeDir, Name: "package/package.json/"}}},
		{"a symbolic link beside it", "pass ", []tar.Header{file("package/package.json", good), {Typeflag: tar.TypeSymlink, Name: "package/package.json", Linkname: "evil.json"}}},
		{"a symbolic link in its place", "fail manifest-absent", []tar.Header{file("package/evil.json", evil), {Typeflag: tar.TypeSymlink, Name: "package/package.json", Linkname: "evil.json"}}},
		{"a hard link in its place", "fail manifest-absent", []tar.Header{file("package/evil.json", evil), {Typeflag: tar.TypeLink, Name: "package/package.json", Linkname: "package/evil.json"}}},
		{"none", "fail manifest-absent", []tar.Header{file("package/index.js", "1")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			w := tar.NewWriter(z)
			for _, h := range tt.entries {
				body := h.Uname
				h.Uname = ""
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(w, body); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			tarball, err := evidence.ReadTarball(&b)
			if err != nil {
				t.Fatal(err)
			}
			got := row(t, verify.Run(verify.Input{
				Package:  verify.Package{ID: npm.ID{Name: "p", Version: "1.0.0"}},
				Evidence: &evidence.Evidence{Document: served([]byte(good)), Tarball: tarball},
			}), "manifest")
			if s := string(got.Status) + " " + got.Reason; s != tt.want {
				t.Errorf("%s, want %s: %s", s, tt.want, got.Message)
			}
		})
	}
}

// TestManifestNotAtHand: what was not looked at is never a pass.
func TestManifestNotAtHand(t *testing.T) {
	document := served([]byte(`{"name":"p","version":"1.0.0"}`))
	for _, tt := range []struct {
		name, want string
		evidence   evidence.Evidence
	}{
		{"no tarball", "skip not-asked", evidence.Evidence{Document: document}},
		{"a digest only", "skip not-asked", evidence.Evidence{Document: document, Tarball: &evidence.Tarball{SHA512: make([]byte, 64)}}},
		{"a tarball that could not be had", "error timeout", evidence.Evidence{Document: document, Tarball: &evidence.Tarball{Reason: "timeout"}}},
		{"no document", "skip not-collected", evidence.Evidence{Tarball: &evidence.Tarball{Manifest: []byte("{}")}}},
		{"a bomb", "error manifest-too-large", evidence.Evidence{Document: document, Tarball: &evidence.Tarball{Problem: evidence.ProblemExpanded}}},
		{"a damaged archive", "fail tarball-damaged", evidence.Evidence{Document: document, Tarball: &evidence.Tarball{Problem: evidence.ProblemTar}}},
		{"a damaged file", "fail tarball-damaged", evidence.Evidence{Document: document, Tarball: &evidence.Tarball{Problem: evidence.ProblemGzip}}},
	} {
		got := row(t, verify.Run(verify.Input{Package: verify.Package{ID: npm.ID{Name: "p", Version: "1.0.0"}}, Evidence: &tt.evidence}), "manifest")
		if s := string(got.Status) + " " + got.Reason; s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

// TestOnlyManifestFails plays manifest confusion against packages that are attested, signed and locked: it is
// the one check that notices.
func TestOnlyManifestFails(t *testing.T) {
	w := newWorld(t, now)
	for _, tt := range []struct {
		name, want string
		manifest   map[string]any
		document   func(map[string]any)
	}{
		{"honest", "", map[string]any{"scripts": map[string]any{"postinstall": "x"}, "bin": "./cli.js"}, func(map[string]any) {}},
		{"hidden install script", "manifest manifest-install-script", map[string]any{"scripts": map[string]any{"postinstall": "x"}}, func(d map[string]any) { delete(d, "scripts") }},
		{"hidden dependency", "manifest manifest-dependency", map[string]any{"dependencies": map[string]any{"evil": "1"}}, func(d map[string]any) { delete(d, "dependencies") }},
		{"added dependency", "manifest manifest-dependency", nil, func(d map[string]any) { d["dependencies"] = map[string]any{"evil": "1"} }},
		{"hidden command", "manifest manifest-bin", map[string]any{"bin": map[string]any{"ls": "x"}}, func(d map[string]any) { delete(d, "bin") }},
		{"another package inside", "manifest manifest-name", map[string]any{"name": "evil"}, func(d map[string]any) { d["name"] = "@acme/widget" }},
		{"another version inside", "manifest manifest-version", map[string]any{"version": "9.9.9"}, func(d map[string]any) { d["version"] = "1.2.3" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := w.publish(lab.Release{CI: lab.GitHub("acme/widget"), Package: lab.Package{Manifest: tt.manifest}, Document: tt.document})
			in := w.input(p)
			tarball, err := evidence.ReadTarball(bytes.NewReader(p.Tarball))
			if err != nil {
				t.Fatal(err)
			}
			in.Evidence.Tarball = tarball
			o := verify.Run(in)
			if got := failing(o, verify.Fail, verify.Error); got != tt.want {
				t.Errorf("failing rows: %q, want %q", got, tt.want)
			}
			if want := map[bool]verify.Verdict{true: verify.Provenance, false: verify.Invalid}[tt.want == ""]; o.Verdict != want {
				t.Errorf("verdict %q, want %q", o.Verdict, want)
			}
		})
	}
}

// oddManifests are package.json files of every shape that npm puts in order on publish; with each the files
// that it looks at beside package.json.
var oddManifests = []struct {
	manifest string
	files    []string
}{
	{`{"name":"p","version":"v1.2.3"}`, nil},
	{`{"name":"p","version":"1.2.3+build.5"}`, nil},
	{`{"name":" p ","version":"1.2.3-beta.1+b"}`, nil},
	{`{"name":"p","version":"1.0.0","repository":"o/r"}`, nil},
	{`{"name":"p","version":"1.0.0","repository":"gist:11081aaa281"}`, nil},
	{`{"name":"p","version":"1.0.0","repository":"bitbucket:o/r"}`, nil},
	{`{"name":"p","version":"1.0.0","repository":"git@github.com:o/r.git"}`, nil},
	{`{"name":"p","version":"1.0.0","repository":"https://github.com/o/r/tree/main/packages/x"}`, nil},
	{`{"name":"p","version":"1.0.0","repository":{"url":"https://user:tok@github.com/o/r.git","directory":"x"}}`, nil},
	{`{"name":"p","version":"1.0.0","repositories":[{"type":"git","url":"git://github.com/o/r"},{"url":"o/s"}]}`, nil},
	{`{"name":"p","version":"1.0.0","repository":[{"type":"git","url":"git://github.com/o/r"}]}`, nil},
	{`{"name":"p","version":"1.0.0","repository":""}`, nil},
	{`{"name":"p","version":"1.0.0","repository":"https://git.example.com/o/r.git"}`, nil},
	{`{"name":"p","version":"1.0.0","bin":"./cli.js"}`, []string{"cli.js"}},
	{`{"name":"@s/p","version":"1.0.0","bin":"./cli.js"}`, []string{"cli.js"}},
	{`{"name":"p","version":"1.0.0","bin":{"a":"./bin/a.js","b":"bin\\a.js","../c":"/bin/a.js","d":"bin/../bin/a.js"}}`, []string{"bin/a.js"}},
	{`{"name":"p","version":"1.0.0","bin":["bin/a.js","./bin/b"]}`, []string{"bin/a.js", "bin/b"}},
	{`{"name":"p","version":"1.0.0","bin":{"x":1,"y":"","ok":"index.js"}}`, []string{"index.js"}},
	{`{"name":"p","version":"1.0.0","bin":{}}`, nil},
	{`{"name":"p","version":"1.0.0","directories":{"bin":"./bin"}}`, []string{"bin/a.js", "bin/sub/b", "bin/.hidden"}},
	{`{"name":"p","version":"1.0.0"}`, []string{"binding.gyp", "server.js"}},
	{`{"name":"p","version":"1.0.0","scripts":{"preinstall":"x"}}`, []string{"binding.gyp"}},
	{`{"name":"p","version":"1.0.0","gypfile":false}`, []string{"binding.gyp"}},
	{`{"name":"p","version":"1.0.0","dependencies":["a","b@1.0.0","c >=2","d:@3"]}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":"a, b@1.0.0 c"}`, nil},
	{`{"name":"p","version":"1.0.0","optionalDependencies":["c@3"]}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"a":"o/r","b":"github:o/r#semver:^1","c":"git@github.com:o/r.git#abc","d":"git://github.com/o/r","e":"https://github.com/o/r/archive/x.tar.gz","f":"gitlab:g/p","g":"file:../x","h":"npm:foo@1","i":"https://github.com/o/r.git#v1","j":"git+ssh://git@github.com/o/r.git","k":" ^1.0.0 ","l":"","m":"gist:11081aaa281","n":"https://user:x@github.com/o/r.git"}}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"a":"1","b":"1"},"optionalDependencies":{"b":"2","c":"3"}}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"c":"3"},"optionalDependencies":{"c":"3"}}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundleDependencies":["a","z"]}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundledDependencies":["z"]}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundleDependencies":true}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":{"a":"1"},"bundleDependencies":{"a":"1"}}`, nil},
	{`{"name":"p","version":"1.0.0","scripts":{"test":"./node_modules/.bin/mocha","b":"node_modules/.bin/x && y","c":"node ./node_modules/.bin/z","d":5}}`, nil},
	{`{"name":"p","version":"1.0.0","scripts":"nope"}`, nil},
	{`{"name":"p","version":"1.0.0","scripts":{"test":"a"},"scripts":{"test":"b","test":"c"},"dependencies":{"a":"1","a":"2"}}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":null,"scripts":null,"optionalDependencies":null,"bin":null,"repository":null}`, nil},
	{`{"name":"p","version":"1.0.0","dependencies":false,"optionalDependencies":false,"bin":[]}`, nil},
	{`{"name":"p","version":"1.0.0","peerDependencies":{"react":">=16"},"dependencies":{"é":"1"},"scripts":{"x":"\ud800"}}`, nil},
	{"\ufeff" + `{"name":"p","version":"1.0.0","dependancies":{"a":"1"},"script":{"x":"y"},"Scripts":{"x":"y"}}`, nil},
}

// TestManifestAsNpmPublishesIt lets the installed npm make version documents, as it does on publish, and
// compares them with what they were made of.
func TestManifestAsNpmPublishesIt(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("differential test not run: node is not installed")
	}
	cli, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("differential test not run: npm is not installed")
	}
	if cli, err = filepath.EvalSymlinks(cli); err != nil {
		t.Skip("differential test not run:", err)
	}
	root := filepath.Dir(filepath.Dir(cli))
	if _, err := os.Stat(filepath.Join(root, "node_modules", "@npmcli", "package-json")); err != nil {
		t.Skip("differential test not run: this npm does not carry @npmcli/package-json")
	}
	dir := t.TempDir()
	for i, odd := range oddManifests {
		for _, f := range append([]string{"package.json"}, odd.files...) {
			name := filepath.Join(dir, string(rune('A'+i)), filepath.FromSlash(f))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			body := ""
			if f == "package.json" {
				body = odd.manifest
			}
			if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	const script = `
const [root, dir, count] = process.argv.slice(1);
const require_ = require("node:module").createRequire(root + "/package.json");
const PackageJson = require_("@npmcli/package-json"), semver = require_("semver");
(async () => {
  const out = [];
  for (let i = 0; i < +count; i++) {
    const { content } = await (await PackageJson.fix(dir + "/" + String.fromCodePoint(65 + i), { changes: [] })).prepare();
    content.version = semver.clean(content.version);
    out.push(JSON.stringify(content));
  }
  process.stdout.write(JSON.stringify(out));
})().catch(e => { console.error(e); process.exit(1) });`
	cmd := exec.Command(node, "-e", script, root, dir, strconv.Itoa(len(oddManifests)))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running npm's own modules: %v\n%s", err, stderr.String())
	}
	var documents []string
	if err := json.Unmarshal(out, &documents); err != nil || len(documents) != len(oddManifests) {
		t.Fatalf("%d documents, want %d: %v", len(documents), len(oddManifests), err)
	}
	for i, odd := range oddManifests {
		tarball := &evidence.Tarball{Manifest: []byte(odd.manifest), Gyp: slices.Contains(odd.files, "binding.gyp")}
		if got := manifestRowOf(t, documents[i], tarball); got.Status != verify.Pass || got.Reason != "" {
			t.Errorf("%s\nnpm made %s\n%s %s: expected %q, actual %q: %s", odd.manifest, documents[i], got.Status, got.Reason, got.Expected, got.Actual, got.Message)
		}
	}
}

// FuzzManifest: whatever a manifest holds, it equals itself unless it cannot be read in one way; and a
// dependency, command or install script put into one side never passes.
func FuzzManifest(f *testing.F) {
	for _, odd := range oddManifests {
		f.Add(odd.manifest)
	}
	f.Fuzz(func(t *testing.T, manifest string) {
		got := manifestRow(t, manifest, manifest)
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(manifest), &object) != nil || !utf8.ValidString(manifest) {
			if got.Status == verify.Pass && !strings.HasPrefix(manifest, "\ufeff") && utf8.ValidString(manifest) {
				t.Errorf("%q is no object and passes", manifest)
			}
			return
		}
		if got.Status == verify.Pass {
			names := slices.Collect(maps.Keys(object))
			if slices.Contains(names, "peerDependencies") || object == nil {
				return
			}
			object["peerDependencies"] = json.RawMessage(`{"evil":"1"}`)
			more, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range [][2]string{{manifest, string(more)}, {string(more), manifest}} {
				if r := manifestRow(t, pair[0], pair[1]); r.Status == verify.Pass {
					t.Errorf("a dependency on one side passes: %q and %q", pair[0], pair[1])
				}
			}
		}
	})
}
