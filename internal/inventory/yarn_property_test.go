package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A drawnYarn is a generated project of yarn.
type drawnYarn struct {
	head, manifest string
	blocks         []string
}

// drawYarn generates a yarn.lock of either kind: few names, so that much leads to the same entries.
func drawYarn(t *rapid.T, berry bool) drawnYarn {
	name := rapid.SampledFrom([]string{"a", "b", "c", "@s/a", "@s/b", "typescript"})
	spec := rapid.SampledFrom([]string{"^1.0.0", "*", "1.x || >=2", "npm:b@1", "latest"})
	other := rapid.SampledFrom([]string{"o/r", "https://h.example/x.tgz", "file:./x.tgz", "link:./x"})
	d := drawnYarn{head: "# yarn lockfile v1\n"}
	if berry {
		d.head = "__metadata:\n  version: 8\n  cacheKey: 10c0\n"
	}
	seen := make(map[string]bool)
	for range rapid.IntRange(0, 10).Draw(t, "entries") {
		var keys []string
		of := name.Draw(t, "name")
		for range rapid.IntRange(1, 3).Draw(t, "keys") {
			s := rapid.OneOf(spec, spec, other).Draw(t, "spec")
			if berry && (parseKind(s) == specRegistry && !strings.HasPrefix(s, "npm:")) {
				s = "npm:" + s
			}
			n := of
			if rapid.IntRange(0, 5).Draw(t, "stranger") == 0 {
				n = name.Draw(t, "other name")
			}
			if key := n + "@" + s; !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		version := fmt.Sprintf("%d.0.%d", rapid.IntRange(0, 2).Draw(t, "version"), len(d.blocks))
		var b strings.Builder
		if berry {
			reference := rapid.SampledFrom([]string{"npm:" + version, "npm:" + version, "npm:" + version + "::__archiveUrl=https%3A%2F%2Fh.example%2Fx.tgz", "https://h.example/x.tgz#" + version, "link:./x::n=" + version,
				"patch:" + of + "@npm%3A" + version + "#./x.patch", "https://github.com/o/r.git#commit=" + version}).Draw(t, "reference")
			fmt.Fprintf(&b, "%q:\n  version: %s\n  resolution: %q\n", strings.Join(keys, ", "), version, of+"@"+reference)
		} else {
			for i, k := range keys {
				keys[i] = fmt.Sprintf("%q", k)
			}
			fmt.Fprintf(&b, "%s:\n  version %q\n", strings.Join(keys, ", "), version)
			if r := rapid.SampledFrom([]string{"", "https://registry.yarnpkg.com/a/-/a-1.0.0.tgz#0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33", "git+ssh://git@github.com/o/r.git#1", "https://h.example/x.tgz", "file:x.tgz"}).Draw(t, "resolved"); r != "" {
				fmt.Fprintf(&b, "  resolved %q\n", r)
			}
			if rapid.Bool().Draw(t, "integrity") {
				b.WriteString("  integrity sha512-x==\n")
			}
		}
		for _, field := range []string{"dependencies", "optionalDependencies"} {
			deps := rapid.MapOfN(name, rapid.OneOf(spec, other), 0, 3).Draw(t, field)
			if len(deps) == 0 || berry && field != "dependencies" {
				continue
			}
			fmt.Fprintf(&b, "  %s:\n", field)
			for _, n := range slices.Sorted(func(yield func(string) bool) {
				for n := range deps {
					if !yield(n) {
						return
					}
				}
			}) {
				if berry {
					fmt.Fprintf(&b, "    %q: %q\n", n, deps[n])
				} else {
					fmt.Fprintf(&b, "    %q %q\n", n, deps[n])
				}
			}
		}
		b.WriteString("\n")
		d.blocks = append(d.blocks, b.String())
	}
	if rapid.IntRange(0, 3).Draw(t, "manifest") > 0 {
		var fields []string
		for _, f := range []string{"dependencies", "devDependencies", "optionalDependencies", "resolutions"} {
			deps := rapid.MapOfN(name, rapid.OneOf(spec, other), 0, 3).Draw(t, f)
			var members []string
			for n, s := range deps {
				members = append(members, fmt.Sprintf("%q: %q", n, s))
			}
			slices.Sort(members)
			fields = append(fields, fmt.Sprintf("%q: {%s}", f, strings.Join(members, ", ")))
		}
		d.manifest = `{"name": "app", ` + strings.Join(fields, ", ") + "}"
	}
	return d
}

func parseKind(spec string) specKind {
	kind, _ := parseSpec(spec)
	return kind
}

func (d *drawnYarn) open(blocks []string, newline string) (*Project, error) {
	text := strings.ReplaceAll(d.head+"\n"+strings.Join(blocks, ""), "\n", newline)
	fsys := fstest.MapFS{"yarn.lock": {Data: []byte(text)}}
	if d.manifest != "" {
		fsys["package.json"] = &fstest.MapFile{Data: []byte(d.manifest)}
	}
	return OpenFS(fsys, ".", Options{})
}

// The order of entries and the kind of line endings do not change what a yarn.lock says; nothing of it is dropped, and
// what is suspicious is told by a row.
func TestYarnOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		berry := rapid.Bool().Draw(t, "berry")
		d := drawYarn(t, berry)
		a, errA := d.open(d.blocks, "\n")
		b, errB := d.open(rapid.Permutation(d.blocks).Draw(t, "order"), "\r\n")
		if (errA == nil) != (errB == nil) {
			t.Fatalf("errors differ: %v, %v", errA, errB)
		}
		if errA != nil {
			return
		}
		if diff := cmp.Diff(withoutLines(a), withoutLines(b)); diff != "" {
			t.Fatalf("(-first +reordered):\n%s", diff)
		}
		checkComplete(t, a, nil)
		checkOddities(t, a)
		// Each entry has its version to itself; that of a patch stands for the package it is made of.
		for _, block := range d.blocks {
			_, version, _ := strings.Cut(block, "version")
			version = strings.Trim(strings.SplitN(version, "\n", 2)[0], `: "`)
			found := slices.ContainsFunc(a.Packages, func(q Package) bool { return q.Version == version }) ||
				slices.ContainsFunc(a.Others, func(o Other) bool { return o.Version == version })
			if !found && !strings.Contains(block, "patch:") {
				t.Fatalf("dropped:\n%s\n%s", block, summary(a))
			}
		}
	})
}

// Wherever yarn.lock takes it from, something asked for by version stays a registry package.
func TestYarnAskedForByVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.SampledFrom([]string{"^1.0.0", "1.0.0", "*", "latest", ">=1 <2 || 3.x", "npm:left@^1"}).Draw(t, "spec")
		from := rapid.SampledFrom([]string{"git+ssh://git@evil.example/x", "https://evil.example/x.tgz", "file:./x", "../x", "github:e/x", "link:./x", "https://codeload.github.com/e/x/tar.gz/01",
			"portal:./x", "exec:./x", "https://github.com/e/x.git#commit=01", "left-1.0.0.tgz", "x-1.0.0.tgz"}).Draw(t, "from")
		fsys := fstest.MapFS{}
		if rapid.Bool().Draw(t, "berry") {
			key := "left@" + spec
			if !strings.HasPrefix(spec, "npm:") {
				key = "left@npm:" + spec
			}
			fsys["yarn.lock"] = &fstest.MapFile{Data: []byte(berryHead + berryRow("app@workspace:.", "0.0.0-use.local", "app@workspace:.", fmt.Sprintf("left: %q", spec)) + berryRow(key, "1.0.0", "left@"+from))}
		} else {
			fsys["yarn.lock"] = &fstest.MapFile{Data: fmt.Appendf(nil, "%q:\n  version \"1.0.0\"\n  resolved %q\n", "left@"+spec, from)}
		}
		if rapid.Bool().Draw(t, "manifest") {
			fsys["package.json"] = &fstest.MapFile{Data: fmt.Appendf(nil, `{"name": "app", "dependencies": {"left": %q}}`, spec)}
		}
		p, err := OpenFS(fsys, ".", Options{Omit: []string{"dev", "optional", "peer"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Packages) != 1 || p.Packages[0].Name != "left" || len(p.Others) != 0 || !p.Packages[0].Direct {
			t.Fatalf("%s", summary(p))
		}
		if odd := p.Packages[0].Oddity != ""; odd == (parseKind(from) == specURL && !strings.Contains(from, "codeload") || from == "left-1.0.0.tgz" && p.FormatVersion == 1) {
			t.Fatalf("from %s: %s", from, summary(p))
		}
	})
}

func fuzzYarn(f *testing.F, lockfiles ...string) {
	const manifest = `{"name":"app","dependencies":{"a":"^1.0.0","left":"npm:b@1"},"devDependencies":{"typescript":"*"},"resolutions":{"**/b":"2","a/c":"npm:d@1","e":"patch:e@npm%3A1#x"},"workspaces":["packages/*"]}`
	for _, lock := range lockfiles {
		f.Add([]byte(lock), []byte(manifest), []byte("catalog:\n  a: ^1.0.0\npackageExtensions:\n  a@*:\n    dependencies:\n      b: \"1\"\n"))
	}
	f.Fuzz(func(t *testing.T, lock, manifest, settings []byte) {
		fsys := fstest.MapFS{"yarn.lock": {Data: lock}, ".yarnrc.yml": {Data: settings},
			"packages/p/package.json": {Data: []byte(`{"name": "p", "version": "1.0.0", "dependencies": {"a": "catalog:", "b": "workspace:^"}}`)}}
		if len(manifest) > 0 {
			fsys["package.json"] = &fstest.MapFile{Data: manifest}
		}
		for _, opts := range []Options{{}, {Omit: []string{"dev", "optional"}}} {
			p, err := OpenFS(fsys, "yarn.lock", opts)
			if err != nil {
				if err.Error() == "" || strings.ContainsAny(err.Error(), "\x1b\x00\n") {
					t.Fatalf("error is not printable: %q", err)
				}
				continue
			}
			checkComplete(t, p, nil)
			if opts.Omit == nil {
				checkOddities(t, p)
			}
			summary(p)
		}
	})
}

// FuzzYarnClassic: no text makes it panic, and what is accepted is complete.
func FuzzYarnClassic(f *testing.F) {
	fuzzYarn(f, classicHead+yarnRow("a@^1.0.0, a@1", "a", "1.0.0", `b "1"`)+yarnRow(`"left@npm:b@1"`, "b", "1.0.0"),
		"\"a\\u0040@1\":\n  version \"1.0.0\"\n  resolved \"x-1.0.0.tgz#0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33\"\n  optionalDependencies:\n    c \"1\"\n",
		"<<<<<<< a\n", "https://x/y.git:\n  name x\n  version \"1.0.0\"\n", "a@1:\r\n  version \"1.0.0\"\r\n", "a@1:\n  version \"1.0.0\"\na@1:\n  version \"1.0.1\"\n")
}

// FuzzYarnBerry is FuzzYarnClassic for yarn 2 and later.
func FuzzYarnBerry(f *testing.F) {
	fuzzYarn(f, berryHead+berryRow("app@workspace:.", "0.0.0-use.local", "app@workspace:.", `a: "npm:^1.0.0"`)+berryRow("a@npm:^1.0.0", "1.0.0", "a@npm:1.0.0", `b: "catalog:"`),
		berryHead+berryRow("typescript@npm:*", "5.0.0", "typescript@npm:5.0.0")+berryRow("typescript@patch:typescript@npm%3A*#optional!builtin<compat/typescript>", "5.0.0", "typescript@patch:typescript@npm%3A5.0.0#optional!builtin<compat/typescript>::version=5.0.0"),
		berryHead+berryRow("p@workspace:packages/p", "0.0.0-use.local", "p@workspace:packages/p")+berryRow("e@link:./x::locator=app%40workspace%3A.", "0.0.0-use.local", "e@link:./x::locator=app%40workspace%3A."),
		berryHead+"a@virtual:0#npm:1: {resolution: a@virtual:0#npm:1.0.0, version: 1.0.0}\n", "__metadata: {version: 11}\n", "__metadata:\n  version: 4\n")
}
