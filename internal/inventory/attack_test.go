package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tiny is the package of an attacker, which the project uses as well.
const tiny = `"node_modules/tiny": {"version": "2.0.0", "resolved": "https://registry.npmjs.org/tiny/-/tiny-2.0.0.tgz", "integrity": "sha512-tiny"}`

// lock3 is a lockfile of a project that asks for deps, with more entries.
func lock3(deps string, entries ...string) string {
	return `{"lockfileVersion": 3, "packages": {"": {"name": "app", "workspaces": ["packages/*"], "dependencies": {` + deps + `}}` +
		strings.Join(append([]string{""}, entries...), ",\n") + `}}`
}

const (
	msForTiny = `"node_modules/ms": {"resolved": "node_modules/tiny", "link": true}`
	evilSpace = `"packages/evil": {"name": "evil", "version": "1.0.0"}, "node_modules/evil": {"resolved": "packages/evil", "link": true}`
)

// A change to the lockfile alone puts one package in another's place by a link, as npm ci would install it.
func TestLinks(t *testing.T) {
	tests := []struct {
		name     string
		lock     string
		manifest string // package.json; "" is none
		odd      string // what is odd, as "NAME at PLACE: part of the message"; "" for nothing
		want     string // a line of the summary that must be there
	}{
		{name: "to another registry package that is asked for itself", lock: lock3(`"ms": "^2.0.0", "tiny": "^2.0.0"`, msForTiny, tiny),
			odd: `ms at node_modules/ms: "ms" is asked for by version ("^2.0.0") but is a link to "node_modules/tiny", which holds "tiny"`},
		{name: "the same with package.json", lock: lock3(`"ms": "^2.0.0", "tiny": "^2.0.0"`, msForTiny, tiny), manifest: `{"name": "app", "dependencies": {"ms": "^2.0.0", "tiny": "^2.0.0"}}`,
			odd: `ms at node_modules/ms: "ms" is asked for by version`},
		{name: "by a tag", lock: lock3(`"ms": "latest", "tiny": "^2.0.0"`, msForTiny, tiny), odd: `ms at node_modules/ms: "ms" is asked for by version ("latest")`},
		{name: "what a locked package asks for", lock: lock3(`"a": "1", "tiny": "^2.0.0"`, `"node_modules/a": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`, msForTiny, tiny),
			odd: `ms at node_modules/ms: "ms" is asked for by version`},
		{name: "excused by an accomplice's path", lock: lock3(`"a": "1", "b": "1", "tiny": "^2.0.0"`, `"node_modules/a": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`,
			`"node_modules/b": {"version": "1.0.0", "dependencies": {"ms": "file:../tiny"}}`, msForTiny, tiny),
			odd: `ms at node_modules/ms: "ms" is asked for`},
		{name: "excused by an accomplice's alias", lock: lock3(`"a": "1", "b": "1", "tiny": "^2.0.0"`, `"node_modules/a": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`,
			`"node_modules/b": {"version": "1.0.0", "dependencies": {"ms": "npm:tiny@2"}}`, msForTiny, tiny),
			odd: `ms at node_modules/ms: "ms" is asked for by version ("^2.0.0")`},
		{name: "by way of a second link", lock: lock3(`"ms": "^2.0.0", "tiny": "^2.0.0"`, `"node_modules/ms": {"resolved": "node_modules/tiny2", "link": true}`,
			`"node_modules/tiny2": {"resolved": "node_modules/tiny", "link": true}`, tiny), odd: `ms at node_modules/ms: "ms" is asked for by version`},
		{name: "to a workspace of another name", lock: lock3(`"react": "^18.0.0"`, evilSpace, `"node_modules/react": {"resolved": "packages/evil", "link": true}`),
			odd: `evil at node_modules/react: "react" is asked for by version ("^18.0.0") but is a link to "packages/evil", which holds "evil"`},
		{name: "to the project itself", lock: lock3(`"react": "^18.0.0"`, `"node_modules/react": {"resolved": "", "link": true}`),
			odd: `react at node_modules/react: "react" is asked for by version ("^18.0.0") but is a link to ".", which holds "app"`},
		{name: "to a directory that is not listed", lock: lock3(`"ms": "^2.0.0"`, `"node_modules/ms": {"resolved": "vendor/evil", "link": true}`),
			odd: `ms at node_modules/ms: "ms" is asked for by version ("^2.0.0") but is a link to "vendor/evil", which is not listed`, want: "unknown: ms@ spec=^2.0.0 resolved=vendor/evil odd direct"},
		{name: "to a listed package in another spelling", lock: lock3(`"ms": "file:./vendor/ms", "tiny": "^2.0.0"`, `"node_modules/ms": {"resolved": "vendor/../node_modules/tiny", "link": true}`, tiny),
			odd: `ms at node_modules/ms: "ms" is asked for as "file:./vendor/ms" but is a link to "node_modules/tiny", which is not listed`},
		{name: "in place of the project's own directory", lock: lock3(`"local": "file:./local", "tiny": "^2.0.0"`, `"node_modules/local": {"resolved": "node_modules/tiny", "link": true}`, tiny),
			odd: `local at node_modules/local: "local" is asked for as "file:./local" but is a link to "node_modules/tiny"`},
		{name: "in place of a repository", lock: lock3(`"repo": "github:a/repo"`, `"node_modules/repo": {"resolved": "vendor/evil", "link": true}`, `"vendor/evil": {"version": "1.0.0"}`),
			odd: `repo at node_modules/repo: "repo" is asked for as "github:a/repo" but is a link to "vendor/evil"`},
		{name: "in the place of an alias", lock: lock3(`"old": "npm:real@1", "tiny": "^2.0.0"`, `"node_modules/old": {"resolved": "node_modules/tiny", "link": true}`, tiny),
			odd: `old at node_modules/old: "old" is asked for by version ("npm:real@1")`},
		{name: "an alias that an accomplice asks for", lock: lock3(`"a": "1", "b": "1"`, `"node_modules/a": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`,
			`"node_modules/b": {"version": "1.0.0", "dependencies": {"ms": "npm:tiny@2"}}`, `"node_modules/ms": {"name": "tiny", "version": "2.0.0", "resolved": "https://registry.npmjs.org/tiny/-/tiny-2.0.0.tgz"}`),
			odd: `tiny at node_modules/ms: "node_modules/ms" holds "tiny"`},

		{name: "honest: a workspace by version", lock: lock3(`"evil": "^1.0.0"`, evilSpace)},
		{name: "honest: a workspace without a name", lock: lock3(`"evil": "^1.0.0"`, `"packages/evil": {"version": "1.0.0"}, "node_modules/evil": {"resolved": "packages/evil", "link": true}`)},
		{name: "honest: a directory by its path, and by version too", lock: lock3(`"ms": "file:./vendor/ms-fork", "a": "1"`, `"vendor/ms-fork": {"name": "ms-fork", "version": "2.0.0"}`,
			`"node_modules/ms": {"resolved": "vendor/ms-fork", "link": true}`, `"node_modules/a": {"version": "1.0.0", "peerDependencies": {"ms": "^2.0.0"}}`)},
		{name: "honest: the project uses itself", lock: lock3(`"a": "1", "app": "file:."`, `"node_modules/app": {"resolved": "", "link": true}`, `"node_modules/a": {"version": "1.0.0", "peerDependencies": {"app": "*"}}`)},
		{name: "honest: a directory by override", lock: lock3(`"a": "1"`, `"vendor/x": {"name": "x", "version": "2.0.0"}`, `"node_modules/ms": {"resolved": "vendor/x", "link": true}`, `"node_modules/a": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`),
			manifest: `{"dependencies": {"a": "1"}, "overrides": {"ms": "file:vendor/x"}}`},
		{name: "honest: an alias by the project, and another that takes what is there", lock: lock3(`"ms": "npm:tiny@2", "a": "1"`, `"node_modules/a": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`,
			`"node_modules/ms": {"name": "tiny", "version": "2.0.0", "resolved": "https://registry.npmjs.org/tiny/-/tiny-2.0.0.tgz"}`)},
		{name: "honest: npm's linked store", lock: lock3(`"ms": "^2.0.0", "old": "npm:real@1"`,
			`"node_modules/ms": {"resolved": "node_modules/.store/ms@2.0.0/node_modules/ms", "link": true}`, `"node_modules/.store/ms@2.0.0/node_modules/ms": {"version": "2.0.0"}`,
			`"node_modules/old": {"resolved": "node_modules/.store/real@1.0.0/node_modules/real", "link": true}`, `"node_modules/.store/real@1.0.0/node_modules/real": {"version": "1.0.0"}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			texts := map[string]string{"package-lock.json": tt.lock}
			if tt.manifest != "" {
				texts["package.json"] = tt.manifest
			}
			p, err := OpenFS(files(texts), ".", Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkOdd(t, p, tt.odd)
			if !strings.Contains(summary(p), tt.want) {
				t.Errorf("no row %q in\n%s", tt.want, summary(p))
			}
		})
	}
}

// checkOdd makes sure that one row is odd, as "NAME at PLACE: part of the message", or none if want is "".
func checkOdd(t *testing.T, p *Project, want string) {
	t.Helper()
	checkOddities(t, p)
	found := want == ""
	see := func(name, oddity string, locations []Location) {
		if oddity == "" {
			return
		}
		if want == "" {
			t.Errorf("%s is odd: %s", name, oddity)
		}
		for _, l := range locations {
			found = found || strings.HasPrefix(fmt.Sprintf("%s at %s: %s", name, l.Path, oddity), want)
		}
	}
	for _, q := range p.Packages {
		see(q.Name, q.Oddity, q.Locations)
	}
	for _, o := range p.Others {
		see(o.Name, o.Oddity, o.Locations)
	}
	if !found {
		t.Errorf("no row is odd as %q:\n%s", want, summary(p))
	}
}

// The same on disk, where there is no lockfile to edit.
func TestLinksOnDisk(t *testing.T) {
	const manifest = `{"name": "app", "dependencies": {"ms": "^2.0.0", "tiny": "^2.0.0"}}`
	pkg := func(name string) string { return `{"name": "` + name + `", "version": "2.0.0"}` }
	tests := []struct {
		name  string
		files map[string]string
		odd   string
		want  string
	}{
		{name: "to another package", files: map[string]string{"package.json": manifest, "node_modules/ms": "-> tiny", "node_modules/tiny/package.json": pkg("tiny")},
			odd: `ms at node_modules/ms: "ms" is asked for by version ("^2.0.0") but is a link to "node_modules/tiny", which holds "tiny"`},
		{name: "where the hidden lockfile has a package", files: map[string]string{"package.json": manifest, "node_modules/ms": "-> tiny", "node_modules/tiny/package.json": pkg("tiny"),
			"node_modules/.package-lock.json": `{"lockfileVersion": 3, "packages": {"node_modules/ms": {"version": "2.0.0"}, ` + tiny + `}}`},
			odd: `ms at node_modules/ms: "ms" is asked for by version`},
		{name: "to a directory inside another package", files: map[string]string{"package.json": manifest, "node_modules/ms": "-> tiny/lib", "node_modules/tiny/package.json": pkg("tiny"), "node_modules/tiny/lib/package.json": pkg("x")},
			odd: `x at node_modules/ms: "ms" is asked for by version`},
		{name: "out of the project", files: map[string]string{"package.json": manifest, "node_modules/ms": "-> ../../elsewhere", "node_modules/tiny/package.json": pkg("tiny")},
			want: "unknown: ms@ spec=^2.0.0 resolved=../../elsewhere direct"},
		{name: "honest: a store", files: map[string]string{"package.json": manifest, "node_modules/ms": "-> .pnpm/ms@2.0.0/node_modules/ms", "node_modules/.pnpm/ms@2.0.0/node_modules/ms/package.json": pkg("ms"), "node_modules/tiny/package.json": pkg("tiny")},
			want: "ms@2.0.0 no-integrity resolved= direct"},
		{name: "honest: a store with a repository's package of another name", files: map[string]string{"package.json": `{"dependencies": {"g": "github:a/g"}}`,
			"node_modules/g": "-> .pnpm/real@1/node_modules/real", "node_modules/.pnpm/real@1/node_modules/real/package.json": pkg("real")}, want: "git: g@2.0.0 spec=github:a/g direct"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Open(writeTree(t, tt.files), Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkOdd(t, p, tt.odd)
			if !strings.Contains(summary(p), tt.want) {
				t.Errorf("no row %q in\n%s", tt.want, summary(p))
			}
		})
	}
}

// What is asked for and not in the lockfile is a row of its own.
func TestMissing(t *testing.T) {
	const a = `"node_modules/a": {"version": "1.0.0", `
	tests := []struct {
		name string
		lock string
		opts Options
		want []string // missing as "NAME SPEC PLACE..."
	}{
		{name: "by the project", lock: lock3(`"ms": "^2.0.0"`), want: []string{"ms ^2.0.0 node_modules/ms"}},
		{name: "by a package", lock: lock3(`"a": "1"`, a+`"dependencies": {"ms": "^2.0.0"}}`), want: []string{"ms ^2.0.0 node_modules/a/node_modules/ms"}},
		{name: "by two", lock: lock3(`"a": "1", "b": "1"`, a+`"dependencies": {"ms": "^2.0.0"}}`, `"node_modules/b": {"version": "1.0.0", "dependencies": {"ms": "^2.0.0"}}`),
			want: []string{"ms ^2.0.0 node_modules/a/node_modules/ms node_modules/b/node_modules/ms"}},
		{name: "as a peer", lock: lock3(`"a": "1"`, a+`"peerDependencies": {"ms": "^2.0.0"}}`), want: []string{"ms ^2.0.0 node_modules/a/node_modules/ms"}},
		{name: "as a peer that npm is told not to install", lock: lock3(`"a": "1"`, a+`"peerDependencies": {"ms": "^2.0.0"}}`), opts: Options{LegacyPeerDeps: true}},
		{name: "as an optional peer", lock: lock3(`"a": "1"`, a+`"peerDependencies": {"ms": "^2.0.0"}, "peerDependenciesMeta": {"ms": {"optional": true}}}`)},
		{name: "as an optional dependency", lock: lock3(`"a": "1"`, a+`"optionalDependencies": {"fsevents": "^2.0.0"}}`)},
		{name: "by an optional dependency", lock: `{"lockfileVersion": 3, "packages": {"": {"optionalDependencies": {"a": "1"}}, ` + a + `"dependencies": {"ms": "2"}}}}`},
		{name: "by what nobody uses", lock: lock3(``, a+`"dependencies": {"ms": "^2.0.0"}}`)},
		{name: "by a directory outside", lock: lock3(`"out": "file:../out"`, `"../out": {"version": "1.0.0", "dependencies": {"ms": "2"}}, "node_modules/out": {"resolved": "../out", "link": true}`)},
		{name: "for development", lock: `{"lockfileVersion": 3, "packages": {"": {"devDependencies": {"ms": "2"}}}}`, want: []string{"ms 2 node_modules/ms"}},
		{name: "for development, which is omitted", lock: `{"lockfileVersion": 3, "packages": {"": {"devDependencies": {"ms": "2"}}}}`, opts: Options{Omit: []string{"dev"}}},
		{name: "by a workspace", lock: lock3(``, `"packages/w": {"name": "w", "devDependencies": {"ms": "2"}}, "node_modules/w": {"resolved": "packages/w", "link": true}`),
			want: []string{"ms 2 packages/w/node_modules/ms"}},
		{name: "by a workspace that is not asked about", lock: lock3(``, `"packages/w": {"dependencies": {"ms": "2"}}, "packages/v": {"version": "1.0.0"}`), opts: Options{Workspaces: []string{"v"}}},
		{name: "with a name that is none", lock: lock3(`"a\u001b[2J": "1"`), want: []string{`"a\x1b[2J" 1 node_modules/"a\x1b[2J"`}},
		{name: "version 1 does not say what is optional", lock: `{"lockfileVersion": 1, "dependencies": {"a": {"version": "1.0.0", "requires": {"fsevents": "1"}}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := OpenFS(files(map[string]string{"package-lock.json": tt.lock}), ".", tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			checkComplete(t, p, nil)
			var got []string
			for _, o := range p.Others {
				if !o.Missing {
					continue
				}
				line := o.Name + " " + o.Spec
				for _, l := range o.Locations {
					line += " " + l.Path
					if l.Line == 0 || l.File != "package-lock.json" {
						t.Errorf("%+v", l)
					}
				}
				if got = append(got, line); o.Source != SourceUnknown {
					t.Errorf("source %s", o.Source)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	var deps []string
	for i := range maxMissing + 1 {
		deps = append(deps, fmt.Sprintf(`"m%d": "1"`, i))
	}
	_, err := openText(lock3(strings.Join(deps, ",")))
	checkError(t, err, "package-lock.json:1: more than 1000 packages are asked for and not listed")
}

// A lockfile that looks as if it were npm's does not hide the one in use.
func TestDecoyLockfile(t *testing.T) {
	lock := lock3(``)
	tests := []struct {
		name     string
		files    map[string]string
		open     string
		err      string
		doubtful []string // codes of warnings that say so
	}{
		{name: "demanded by packageManager", files: map[string]string{"package.json": `{"packageManager": "yarn@4.5.0+sha512.x"}`, "yarn.lock": ""}},
		{name: "demanded by devEngines", files: map[string]string{"package.json": `{"devEngines": {"runtime": {"name": "node"}, "packageManager": {"name": "pnpm", "version": "^9"}}}`, "pnpm-lock.yaml": ""}, err: "pnpm-lock.yaml:1: is empty"},
		{name: "one of two", files: map[string]string{"package.json": `{"packageManager": "pnpm@9.0.0"}`, "yarn.lock": "", "pnpm-lock.yaml": ""}, err: "pnpm-lock.yaml:1: is empty"},
		{name: "nothing demanded", files: map[string]string{"package.json": `{}`, "bun.lock": ""}, doubtful: []string{"lockfile-ignored"}},
		{name: "no package.json", files: map[string]string{"yarn.lock": ""}, doubtful: []string{"lockfile-ignored"}},
		{name: "npm demanded", files: map[string]string{"package.json": `{"packageManager": "npm@11.0.0"}`, "yarn.lock": ""}},
		{name: "npm among those allowed", files: map[string]string{"package.json": `{"devEngines": {"packageManager": [{"name": "yarn"}, {"name": "npm"}]}}`, "yarn.lock": ""}},
		{name: "npm's own two", files: map[string]string{"npm-shrinkwrap.json": lock}},
		{name: "another demanded, and its lockfile absent", files: map[string]string{"package.json": `{"packageManager": "pnpm@9.0.0"}`}, doubtful: []string{"other-manager"}},
		{name: "named by the user", files: map[string]string{"package.json": `{"packageManager": "yarn@4.5.0"}`, "yarn.lock": ""}, open: "package-lock.json"},
		{name: "nonsense", files: map[string]string{"package.json": `{"packageManager": {"name": "yarn"}, "devEngines": {"packageManager": ["yarn", {"name": 1}, [{"name": "pnpm"}]]}}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.files["package-lock.json"] = lock
			if tt.open == "" {
				tt.open = "."
			}
			p, err := OpenFS(files(tt.files), tt.open, Options{})
			checkError(t, err, tt.err)
			if err != nil {
				return
			}
			var got []string
			for _, w := range p.Warnings {
				if w.Doubtful {
					got = append(got, w.Code)
				}
			}
			if diff := cmp.Diff(tt.doubtful, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// However large a lockfile is, what is made of it has a bound.
func TestTooManyEntries(t *testing.T) {
	var tiny, edges, legacy []string
	for i := range maxEntries {
		tiny = append(tiny, fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0","integrity":"sha512-%0100d"}`, i, i))
		legacy = append(legacy, fmt.Sprintf(`"%d":{"version":"1.0.0","integrity":"sha512-%0100d"}`, i, i))
	}
	_, err := openText(lock3(``, tiny...))
	checkError(t, err, "package-lock.json:400001: more than 400000 entries")
	_, err = openText("{\"lockfileVersion\": 1, \"dependencies\": {\n\"x\":{\"version\":\"1.0.0\"},\n" + strings.Join(legacy, ",\n") + "}}")
	checkError(t, err, "package-lock.json:400002: more than 400000 entries")
	for i := range 2001 {
		var deps []string
		for j := range 1000 {
			deps = append(deps, fmt.Sprintf(`"dependency-%d":"^1.0.0 || ^2.0.0"`, j))
		}
		edges = append(edges, fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0","dependencies":{%s}}`, i, strings.Join(deps, ",")))
	}
	_, err = openText(lock3(``, edges...))
	checkError(t, err, "package-lock.json:2002: more than 2000000 dependencies")
}

// Of many oddities the warnings are counted, and every row tells of its own all the same.
func TestManyOddities(t *testing.T) {
	var deps, entries []string
	for i := range 3 * maxSameWarn {
		deps = append(deps, fmt.Sprintf(`"p%d":"1"`, i))
		entries = append(entries, fmt.Sprintf(`"node_modules/p%d":{"name":"evil","version":"1.0.%d"}`, i, i))
	}
	p, err := openText(lock3(strings.Join(deps, ","), entries...))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range p.Packages {
		if q.Oddity == "" {
			t.Errorf("%s@%s is not odd", q.Name, q.Version)
		}
	}
	i := slices.IndexFunc(p.Others, func(o Other) bool { return o.Oddity != "" && strings.Contains(o.Oddity, "400 more of this kind") })
	if i < 0 || len(p.Others) != 1 || p.Others[i].Locations[0].Path != "package-lock.json" {
		t.Errorf("others %+v", p.Others)
	}
}
