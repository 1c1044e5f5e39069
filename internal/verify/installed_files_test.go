package verify_test

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"strings"
	"testing"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/npm"
	"assay/internal/verify"
)

func content(body string) evidence.File {
	return evidence.File{Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body))}
}

func contents(files map[string]string) map[string]evidence.File {
	all := map[string]evidence.File{}
	for name, body := range files {
		all[name] = content(body)
	}
	return all
}

func TestInstalledFiles(t *testing.T) {
	const plain = `{"name":"p","version":"1.0.0","main":"a.js","description":"x"}`
	const scripts = `{"name":"p","version":"1.0.0","scripts":{"postinstall":"make"}}`
	const borrower = `{"name":"p","version":"1.0.0","scripts":{"postinstall":"make"},"bin":{"a":"./bin/x","b":"bin/x.js"}}`
	const inBundle = "node_modules/b/package.json"
	bundledOnDisk := func(body string) func(*evidence.Place) {
		return func(p *evidence.Place) {
			p.Files[inBundle] = content(body)
			if body != "" {
				p.Bundled = map[string][]byte{inBundle: []byte(body)}
			}
		}
	}
	before := func(originals map[string]string, made ...string) func(*evidence.Place) {
		return func(p *evidence.Place) {
			p.Originals = contents(originals)
			for _, name := range made {
				p.Originals[name] = evidence.File{Size: -1}
			}
		}
	}
	type files = map[string]string
	for _, tt := range []struct {
		name, want string // want: "status reason" and, after ": ", the files that the message names
		manifest   string // of the tarball; "": plain
		tarball    files  // beside package.json
		disk       files
		place      func(*evidence.Place)
		lenders    files // of @x/linux, in its tarball
		takers     files // of y, on disk
	}{
		{name: "the same", want: "pass ", tarball: files{"a.js": "a"}, disk: files{"a.js": "a"}},
		{name: "changed", want: "fail files-changed: a.js", tarball: files{"a.js": "a", "b.js": "b"}, disk: files{"a.js": "A", "b.js": "b"}},
		{name: "missing", want: "fail files-missing: b.js", tarball: files{"a.js": "a", "b.js": "b"}, disk: files{"a.js": "a"}},
		{name: "added", want: "fail files-added: b.js", tarball: files{"a.js": "a"}, disk: files{"a.js": "a", "b.js": "b"}},
		{name: "nothing left", want: "fail files-missing: a.js, b.js, c.js, d.js, e.js and 1 more",
			tarball: files{"a.js": "a", "b.js": "a", "c.js": "a", "d.js": "a", "e.js": "a"}, disk: files{},
			place: func(p *evidence.Place) { delete(p.Files, "package.json") }},
		{name: "a link in its place", want: "fail files-changed: a.js", tarball: files{"a.js": "a"},
			place: func(p *evidence.Place) { p.Files["a.js"] = evidence.File{Size: -1} }},
		{name: "no digest is no match", want: "fail files-changed: a.js", tarball: files{"a.js": "a"},
			place: func(p *evidence.Place) { p.Files["a.js"] = evidence.File{Size: 1} }},
		{name: "unreadable", want: "error disk-unreadable", place: func(p *evidence.Place) { p.Files, p.Reason = nil, "unreadable" }},
		{name: "not installed", want: "skip not-installed", place: func(p *evidence.Place) { *p = evidence.Place{Path: p.Path, Absent: true} }},

		{name: "made by an install script", want: "pass files-made: build/x.node", manifest: scripts, disk: files{"build/x.node": "x"}},
		{name: "changed in spite of an install script", want: "fail files-changed: a.js", manifest: scripts, tarball: files{"a.js": "a"}, disk: files{"a.js": "A"}},
		{name: "missing in spite of an install script", want: "fail files-missing: a.js", manifest: scripts, tarball: files{"a.js": "a"}},
		{name: "built with gyp", want: "pass files-made: build/x.node", tarball: files{"binding.gyp": ""}, disk: files{"binding.gyp": "", "build/x.node": "x"}},
		{name: "a script for development makes nothing here", want: "fail files-added: x.js", manifest: `{"name":"p","scripts":{"prepare":"make"}}`, disk: files{"x.js": ""}},
		{name: "left by systems", want: "pass files-made: .DS_Store", disk: files{".DS_Store": ""}},
		{name: "compiled by Python", want: "pass files-made: __pycache__/y.pypy310.pyc, gyp/__pycache__/x.cpython-312.opt-1.pyc, gyp/__pycache__/x.cpython-312.pyc", tarball: files{"gyp/x.py": "x", "y.py": "y"},
			disk: files{"gyp/x.py": "x", "y.py": "y", "gyp/__pycache__/x.cpython-312.pyc": "", "gyp/__pycache__/x.cpython-312.opt-1.pyc": "", "__pycache__/y.pypy310.pyc": ""}},
		{name: "compiled of nothing", want: "fail files-added: gyp/__pycache__/x.pyc, gyp/__pycache__/y.cpython-312.pyc, lib/__pycache__/x.cpython-312.pyc", tarball: files{"gyp/x.py": "x"},
			disk: files{"gyp/x.py": "x", "gyp/__pycache__/x.pyc": "", "gyp/__pycache__/y.cpython-312.pyc": "", "lib/__pycache__/x.cpython-312.pyc": ""}},

		{name: "added in a node_modules in spite of an install script", want: "fail files-added: lib/node_modules/ms/x.js, node_modules/ms.js", manifest: scripts,
			disk: files{"node_modules/ms.js": "x", "lib/node_modules/ms/x.js": "x"}},
		{name: "a link to a node_modules in spite of an install script", want: "fail files-added: node_modules", manifest: scripts,
			place: func(p *evidence.Place) { p.Files["node_modules"] = evidence.File{Size: -1} }},
		{name: "loaded before a file of the tarball", want: "fail files-added: a, b, b.js, c.json, d.js and 2 more", manifest: scripts,
			tarball: files{"a.js": "", "b.json": "", "c.node": "", "d/index.node": ""},
			disk:    files{"a.js": "", "b.json": "", "c.node": "", "d/index.node": "", "a": "x", "b": "x", "b.js": "x", "c.json": "x", "d.js": "x", "d/index.js": "x", "d/package.json": "x"}},
		{name: "loaded after a file of the tarball", want: "pass files-made: a.json, b.mjs, d.txt, e/package.json, lib/a.js", manifest: scripts,
			tarball: files{"a.js": "", "d/index.node": ""},
			disk:    files{"a.js": "", "d/index.node": "", "a.json": "x", "b.mjs": "x", "d.txt": "x", "e/package.json": "x", "lib/a.js": "x"}},
		{name: "fetched beside the command that runs it", want: "pass files-made: bin/x", manifest: borrower, tarball: files{"bin/x.js": ""}, disk: files{"bin/x.js": "", "bin/x": "ELF"}},

		{name: "a dependency's binary", want: "pass files-made: bin/x is @x/linux/bin/y", manifest: borrower, tarball: files{"bin/x": "js"}, disk: files{"bin/x": "ELF"}, lenders: files{"bin/y": "ELF"}},
		{name: "a dependency's binary, changed", want: "fail files-changed: bin/x", manifest: borrower, tarball: files{"bin/x": "js"}, disk: files{"bin/x": "evil"}, lenders: files{"bin/y": "ELF"}},
		{name: "a dependency's file in the place of no command", want: "fail files-changed: a.js", manifest: borrower, tarball: files{"a.js": "js"}, disk: files{"a.js": "ELF"}, lenders: files{"bin/y": "ELF"}},
		{name: "a dependency's empty file", want: "fail files-changed: bin/x", manifest: borrower, tarball: files{"bin/x": "js"}, disk: files{"bin/x": ""}, lenders: files{"bin/y": ""}},
		{name: "a link in a command's place", want: "fail files-changed: bin/x", manifest: borrower, tarball: files{"bin/x": "js"},
			place: func(p *evidence.Place) { p.Files["bin/x"] = evidence.File{Size: -1} }, lenders: files{"bin/y": "ELF"}},
		{name: "a dependency's binary, without a script that could put it there", want: "fail files-changed: bin/x", manifest: `{"name":"p","version":"1.0.0","bin":"bin/x"}`,
			tarball: files{"bin/x": "js"}, disk: files{"bin/x": "ELF"}, lenders: files{"bin/y": "ELF"}},
		{name: "moved to another's command", want: "pass files-made: bin/x is now y/bin/z", tarball: files{"bin/x": "ELF"}, takers: files{"bin/z": "ELF"}},
		{name: "moved and changed", want: "fail files-missing: bin/x", tarball: files{"bin/x": "ELF"}, takers: files{"bin/z": "evil"}},
		{name: "an empty file moved", want: "fail files-missing: bin/x", tarball: files{"bin/x": ""}, takers: files{"bin/z": ""}},

		{name: "ignore file renamed", want: "pass ", tarball: files{".gitignore": "x", "lib/.gitignore": "y"}, disk: files{".npmignore": "x", "lib/.npmignore": "y"}},
		{name: "ignore file kept", want: "pass ", tarball: files{".gitignore": "x"}, disk: files{".gitignore": "x"}},
		{name: "ignore file left out", want: "pass ", tarball: files{".gitignore": "x", ".npmignore": "y"}, disk: files{".npmignore": "y"}},
		{name: "ignore file written over", want: "pass ", tarball: files{".gitignore": "x", ".npmignore": "y"}, disk: files{".npmignore": "x"}},
		{name: "ignore file changed", want: "fail files-changed: .gitignore", tarball: files{".gitignore": "x"}, disk: files{".npmignore": "z"}},
		{name: "ignore file missing", want: "fail files-missing: .gitignore", tarball: files{".gitignore": "x"}},
		{name: "both ignore files", want: "fail files-added: .npmignore", tarball: files{".gitignore": "x"}, disk: files{".gitignore": "x", ".npmignore": "x"}},

		{name: "letter case folded by the file system", want: "pass ", tarball: files{"README.md": "a", "readme.md": "b"}, disk: files{"README.md": "b"}},
		{name: "letter case changed", want: "fail files-missing: A.js", tarball: files{"A.js": "a"}, disk: files{"a.js": "a"}},
		{name: "folded, and other bytes", want: "fail files-changed: README.md, readme.md", tarball: files{"README.md": "a", "readme.md": "b"}, disk: files{"README.md": "c"}},
		{name: "spelled for Windows", want: "pass ", tarball: files{"a?b": "x", `c\d`: "y"}, disk: files{"a\uf03fb": "x", "c/d": "y"}},

		{name: "notes of old npm", want: "pass ", place: manifestOnDisk(`{"_id":"p@1.0.0","_resolved":"x","bundleDependencies":false,"deprecated":false,"description":"x","main":"a.js","name":"p","version":"1.0.0"}`)},
		{name: "notes and another main", want: "fail files-changed: package.json", place: manifestOnDisk(`{"_id":"p@1.0.0","main":"evil.js","name":"p","version":"1.0.0"}`)},
		{name: "notes and exports", want: "fail files-changed: package.json", place: manifestOnDisk(`{"_id":"p@1.0.0","main":"a.js","exports":"./evil.js","name":"p","version":"1.0.0"}`)},
		{name: "notes without main", want: "fail files-changed: package.json", place: manifestOnDisk(`{"_id":"p@1.0.0","name":"p","version":"1.0.0"}`)},
		{name: "notes and a script", want: "fail files-changed: package.json", place: manifestOnDisk(`{"_id":"p@1.0.0","main":"a.js","name":"p","version":"1.0.0","scripts":{"postinstall":"x"}}`)},
		{name: "notes and a name twice", want: "fail files-changed: package.json", place: manifestOnDisk(`{"main":"evil.js","_id":"p@1.0.0","main":"a.js","name":"p","version":"1.0.0"}`)},
		{name: "notes of old npm in what is bundled", want: "pass ", tarball: files{inBundle: ""}, place: bundledOnDisk(`{"_inBundle":true,"main":"a.js","description":"x","name":"p","version":"1.0.0"}`)},
		{name: "another main in what is bundled", want: "fail files-changed: " + inBundle, tarball: files{inBundle: ""}, place: bundledOnDisk(`{"_inBundle":true,"main":"evil.js","description":"x","name":"p","version":"1.0.0"}`)},
		{name: "a dependency in what is bundled", want: "fail files-changed: " + inBundle, tarball: files{inBundle: ""}, place: bundledOnDisk(`{"_inBundle":true,"main":"a.js","dependencies":{"evil":"1"},"description":"x","name":"p","version":"1.0.0"}`)},
		{name: "a type in what is bundled", want: "fail files-changed: " + inBundle, tarball: files{inBundle: ""}, place: bundledOnDisk(`{"type":"module","main":"a.js","description":"x","name":"p","version":"1.0.0"}`)},
		{name: "what is bundled, unread", want: "fail files-changed: " + inBundle, tarball: files{inBundle: ""}, place: bundledOnDisk("")},
		{name: "patched", want: "pass files-patched: a.js, gone.js, new.js", tarball: files{"a.js": "a", "gone.js": "g", "b.js": "b"}, disk: files{"a.js": "A", "b.js": "b", "new.js": "n"},
			place: before(map[string]string{"a.js": "a", "gone.js": "g"}, "new.js")},
		{name: "patched, and changed otherwise", want: "fail files-changed: a.js", tarball: files{"a.js": "a"}, disk: files{"a.js": "A"}, place: before(map[string]string{"a.js": "b"})},
		{name: "changed beside what is patched", want: "fail files-changed: b.js", tarball: files{"a.js": "a", "b.js": "b"}, disk: files{"a.js": "A", "b.js": "B"}, place: before(map[string]string{"a.js": "a"})},
		{name: "missing, and not by the patch", want: "fail files-missing: a.js", tarball: files{"a.js": "a"}, disk: files{}, place: before(map[string]string{"a.js": "b"})},
		{name: "added, and not by the patch", want: "fail files-added: b.js", disk: files{"b.js": "b"}, place: before(map[string]string{"b.js": "a"})},
		{name: "a link in a patched file's place", want: "fail files-added: b.js", place: func(p *evidence.Place) {
			p.Files["b.js"], p.Originals = evidence.File{Size: -1}, map[string]evidence.File{"b.js": {Size: -1}}
		}},
		{name: "patched by yarn", want: "skip patch-unknown: a.js, new.js", tarball: files{"a.js": "a"}, disk: files{"a.js": "A", "new.js": "n"}, place: func(p *evidence.Place) { p.Builtin = []string{"a.js", "new.js"} }},
		{name: "patched by yarn, and changed", want: "fail files-changed: b.js", tarball: files{"a.js": "a", "b.js": "b"}, disk: files{"a.js": "A", "b.js": "B"}, place: func(p *evidence.Place) { p.Builtin = []string{"a.js"} }},
		{name: "patched by yarn, and gone", want: "fail files-missing: a.js", tarball: files{"a.js": "a"}, place: func(p *evidence.Place) { p.Builtin = []string{"a.js"} }},
		{name: "not patched by yarn here", want: "pass ", tarball: files{"a.js": "a"}, disk: files{"a.js": "a"}, place: func(p *evidence.Place) { p.Builtin = []string{"a.js"} }},
		{name: "bun's files", want: "pass ", disk: files{".bun-tag-12e4257e13902e28": ""}},
		{name: "not bun's files", want: "fail files-added: .bun-tag-x/index.js, .bun-tag.js, lib/.bun-tag", disk: files{".bun-tag-x/index.js": "", ".bun-tag.js": "", "lib/.bun-tag": ""}},
		{name: "yarn's files", want: "pass ", disk: files{".ready": "", ".yarn-metadata.json": "{}", ".yarn-tarball.tgz": "x"}},
		{name: "yarn's files elsewhere", want: "fail files-added: lib/.ready", disk: files{"lib/.ready": ""}},
		{name: "a link for yarn's file", want: "fail files-added: .ready", place: func(p *evidence.Place) { p.Files[".ready"] = evidence.File{Size: -1} }},
		{name: "temporary files that pnpm gives room", want: "pass files-made: node_modules/.tmp/x", manifest: scripts, disk: files{"node_modules/.tmp/x": ""}},
		{name: "a package in them", want: "fail files-added: node_modules/.tmp/node_modules/x", manifest: scripts, disk: files{"node_modules/.tmp/node_modules/x": ""}},
		{name: "no JSON", want: "fail files-changed: package.json", place: manifestOnDisk(`module.exports`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			manifest := tt.manifest
			if manifest == "" {
				manifest = plain
			}
			tarball := &evidence.Tarball{Manifest: []byte(manifest), Files: contents(tt.tarball)}
			tarball.Files["package.json"] = content(manifest)
			if _, ok := tarball.Files[inBundle]; ok {
				tarball.Files[inBundle], tarball.Bundled = content(plain), map[string][]byte{inBundle: []byte(plain)}
			}
			place := evidence.Place{Path: "node_modules/p", Files: contents(tt.disk)}
			place.Files["package.json"] = content(manifest)
			if tt.place != nil {
				tt.place(&place)
			}
			o := verify.Run(verify.Input{
				Package: verify.Package{ID: npm.ID{Name: "p", Version: "1.0.0"}},
				Evidence: &evidence.Evidence{
					Tarball: tarball, Installed: []evidence.Place{place},
					Lenders: []evidence.Relative{{Name: "@x/linux", Files: contents(tt.lenders)}}, Takers: []evidence.Relative{{Name: "y", Files: contents(tt.takers)}},
				},
			})
			got := row(t, o, "installed-files")
			want, names, _ := strings.Cut(tt.want, ": ")
			if s := string(got.Status) + " " + got.Reason; s != want || names != "" && !strings.Contains(got.Message, "node_modules/p: "+names) {
				t.Errorf("%s, want %s: %s (%s)", s, tt.want, got.Message, got.Actual)
			}
			if (o.Bound == "disk") != (got.Status == verify.Pass) {
				t.Errorf("%s and bound to %q", got.Status, o.Bound)
			}
		})
	}
}

func manifestOnDisk(body string) func(*evidence.Place) {
	return func(p *evidence.Place) { p.Files["package.json"], p.Manifest = content(body), []byte(body) }
}

func TestInstalledFilesNotAtHand(t *testing.T) {
	there := []evidence.Place{{Path: "node_modules/p"}}
	for _, tt := range []struct {
		name, want string
		evidence   evidence.Evidence
	}{
		{"not asked", "skip not-asked", evidence.Evidence{Tarball: &evidence.Tarball{}}},
		{"no place", "skip not-installed", evidence.Evidence{Installed: []evidence.Place{}}},
		{"no tarball", "error files-unknown", evidence.Evidence{Installed: there}},
		{"no list", "error files-unknown", evidence.Evidence{Installed: there, Tarball: &evidence.Tarball{Manifest: []byte("{}")}}},
		{"no network", "error offline", evidence.Evidence{Installed: there, Tarball: &evidence.Tarball{Reason: "offline"}}},
		{"nothing read", "fail files-missing", evidence.Evidence{Installed: there, Tarball: &evidence.Tarball{Files: contents(map[string]string{"a": "a"})}}},
	} {
		got := row(t, verify.Run(verify.Input{Package: verify.Package{ID: npm.ID{Name: "p", Version: "1.0.0"}}, Evidence: &tt.evidence}), "installed-files")
		if s := string(got.Status) + " " + got.Reason; s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

// TestOnlyInstalledFilesFails: one of two places was tampered with after the installation of a package that is
// attested, signed and locked.
func TestOnlyInstalledFilesFails(t *testing.T) {
	w := newWorld(t, now)
	p := w.publish(lab.Release{CI: lab.GitHub("acme/widget"), Package: lab.Package{Files: map[string]string{"index.js": "good"}}})
	in := w.input(p)
	tarball, err := evidence.ReadTarball(bytes.NewReader(p.Tarball), evidence.WithFiles)
	if err != nil {
		t.Fatal(err)
	}
	in.Evidence.Tarball = tarball
	in.Evidence.Installed = []evidence.Place{
		{Path: "node_modules/@acme/widget", Files: maps.Clone(tarball.Files)},
		{Path: "node_modules/x/node_modules/@acme/widget", Files: maps.Clone(tarball.Files)},
	}
	if o := verify.Run(in); o.Verdict != verify.Provenance || row(t, o, "installed-files").Status != verify.Pass {
		t.Fatalf("verdict %q; failing: %s; errors: %s", o.Verdict, failing(o, verify.Fail), failing(o, verify.Error))
	}
	in.Evidence.Installed[1].Files["index.js"] = content("evil")
	o := verify.Run(in)
	if got := failing(o, verify.Fail, verify.Error); got != "installed-files files-changed" || o.Verdict != verify.Invalid {
		t.Errorf("failing rows %q, verdict %q", got, o.Verdict)
	}
	if m := row(t, o, "installed-files").Message; !strings.Contains(m, "node_modules/x/node_modules/@acme/widget: index.js") {
		t.Errorf("the message does not name the place: %s", m)
	}
}
