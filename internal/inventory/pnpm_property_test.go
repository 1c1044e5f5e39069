//go:build unix

package inventory

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A yamlBlock is a mapping for tests to write in any order: names to texts or mappings.
type yamlBlock map[string]any

// write writes a block with its keys in an order that less gives.
func (y yamlBlock) write(b *strings.Builder, indent int, order func([]string)) {
	keys := make([]string, 0, len(y))
	for k := range y {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	order(keys)
	for _, k := range keys {
		fmt.Fprintf(b, "%*s'%s':", indent, "", k)
		switch v := y[k].(type) {
		case yamlBlock:
			if len(v) == 0 {
				b.WriteString(" {}\n")
				continue
			}
			b.WriteString("\n")
			v.write(b, indent+2, order)
		default:
			fmt.Fprintf(b, " '%v'\n", v)
		}
	}
}

// drawPnpm generates a lockfile: few names, so that edges have a choice, and some that lead nowhere.
func drawPnpm(t *rapid.T) yamlBlock {
	names := []string{"a", "b", "@s/c", "d"}
	versions := []string{"1.0.0", "2.0.0-rc.1+x"}
	name, version := rapid.SampledFrom(names), rapid.SampledFrom(versions)
	packages, snapshots := yamlBlock{}, yamlBlock{}
	for range rapid.IntRange(0, 8).Draw(t, "packages") {
		key := name.Draw(t, "name") + "@" + version.Draw(t, "version")
		p := yamlBlock{"resolution": yamlBlock{"integrity": rapid.SampledFrom([]string{"sha512-a", "sha512-b"}).Draw(t, "integrity")}}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			p["resolution"].(yamlBlock)["tarball"] = "https://h.example/x.tgz"
		case 1:
			key = name.Draw(t, "name") + "@https://h.example/x.tgz"
			p["version"] = "3.0.0"
			p["resolution"].(yamlBlock)["tarball"] = "https://h.example/x.tgz"
		case 2:
			p["peerDependencies"] = yamlBlock{name.Draw(t, "peer"): "*"}
		}
		packages[key] = p
		snap := func() yamlBlock {
			s := yamlBlock{}
			for _, field := range []string{"dependencies", "optionalDependencies"} {
				deps := yamlBlock{}
				for range rapid.IntRange(0, 2).Draw(t, "deps") {
					deps[name.Draw(t, "dep")] = rapid.SampledFrom([]string{"1.0.0", "2.0.0-rc.1+x", "1.0.0(d@1.0.0)", "b@1.0.0", "https://h.example/x.tgz", "link:packages/p", "link:out"}).Draw(t, "ref")
				}
				if len(deps) > 0 {
					s[field] = deps
				}
			}
			return s
		}
		snapshots[key] = snap()
		if rapid.Bool().Draw(t, "peers") {
			snapshots[key+"(d@1.0.0)"] = snap()
		}
	}
	importer := func() yamlBlock {
		im := yamlBlock{}
		for _, field := range []string{"dependencies", "devDependencies", "optionalDependencies"} {
			deps := yamlBlock{}
			for range rapid.IntRange(0, 2).Draw(t, "deps") {
				n := name.Draw(t, "dep") + field[:1] // one name in one field
				deps[n] = yamlBlock{"specifier": rapid.SampledFrom([]string{"^1.0.0", "*", "npm:b@1", "https://h.example/x.tgz", "workspace:*", "github:o/r", "catalog:", "link:out"}).Draw(t, "spec"),
					"version": rapid.SampledFrom([]string{"b@1.0.0", "a@1.0.0", "@s/c@2.0.0-rc.1+x", "a@https://h.example/x.tgz", "link:packages/p", "link:../p", "1.0.0"}).Draw(t, "ref")}
			}
			if len(deps) > 0 {
				im[field] = deps
			}
		}
		return im
	}
	return yamlBlock{"lockfileVersion": "9.0", "importers": yamlBlock{".": importer(), "packages/p": importer()}, "packages": packages, "snapshots": snapshots}
}

// The order of what a lockfile holds, and its line ends, do not change what is in it.
func TestPnpmOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lock := drawPnpm(t)
		var texts []string
		for _, shuffle := range []bool{false, true} {
			var b strings.Builder
			lock.write(&b, 0, func(keys []string) {
				if shuffle {
					copy(keys, rapid.Permutation(keys).Draw(t, "order"))
				}
			})
			texts = append(texts, b.String(), strings.ReplaceAll(b.String(), "\n", "\r\n"))
		}
		manifest := `{"dependencies": {"ad": "^1.0.0", "bd": "https://h.example/x.tgz", "dd": "github:o/r"}, "devDependencies": {"@s/cd": "npm:@s/c@*"}}`
		for _, files := range [][]string{nil, {"package.json", manifest, "packages/p/package.json", `{"name": "b"}`, "pnpm-workspace.yaml", "packages: [packages/*]"}} {
			var first string
			for i, text := range texts {
				p, err := openPnpm(text, Options{}, files...)
				got := fmt.Sprint(err)
				if err == nil {
					checkComplete(t, p, nil)
					checkOddities(t, p)
					got = withoutLines(p)
				} else if i > 0 && first != "" {
					got = first // which of several errors comes first depends on the order
				}
				if first == "" {
					first = got
				}
				if diff := cmp.Diff(first, got); diff != "" {
					t.Fatalf("text %d (-first +this):\n%s\n%s", i, diff, text)
				}
			}
		}
	})
}

func FuzzPnpmLock(f *testing.F) {
	for _, lock := range pnpmVersions {
		f.Add(lock, pnpmFiles[1], pnpmFiles[3])
	}
	f.Add(single("^1.0.0", "1.0.0", leftEntry, leftSnap), `{"dependencies":{"left":"catalog:"},"pnpm":{"overrides":{"a>left@1":"-"}}}`, "catalog: {left: ^1.0.0}\nconfigDependencies: {x: 1.0.0+sha512-x}\n")
	f.Add("---\nlockfileVersion: '9.0'\nimporters:\n  .:\n    configDependencies: {a: {specifier: 1, version: 1.0.0}}\npackages: {a@1.0.0: {resolution: {integrity: x}}}\n---\nlockfileVersion: 5.3\npackages:\n  /a/1.0.0: {requiresBuild: true}\n", "", "")
	f.Fuzz(func(t *testing.T, lock, manifest, workspace string) {
		fsys := fstest.MapFS{pnpmLockfile: {Data: []byte(lock)}, "packages/a/package.json": {Data: []byte(`{"name":"a","dependencies":{"b":"workspace:*"}}`)}}
		if manifest != "" {
			fsys["package.json"] = &fstest.MapFile{Data: []byte(manifest)}
		}
		if workspace != "" {
			fsys["pnpm-workspace.yaml"] = &fstest.MapFile{Data: []byte(workspace)}
		}
		for _, opts := range []Options{{}, {Omit: []string{"dev", "optional"}}} {
			p, err := OpenFS(fsys, ".", opts)
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

// bigPnpm generates a lockfile of about size bytes in the shape and proportions of real ones of version 9, which have 300
// to 490 bytes for each package.
func bigPnpm(size int) string {
	var packages, snapshots strings.Builder
	count := size / 355
	for i := range count {
		fmt.Fprintf(&packages, "\n  package-%d@%d.%d.0:\n    resolution: {integrity: sha512-%086d==}\n    engines: {node: '>=18.0.0'}\n", i, i%9, i%20, i)
		if i%20 == 0 {
			packages.WriteString("    deprecated: this version has a fault, please take a later one and read the notes about it\n")
		}
		peer := ""
		if i%5 == 0 {
			peer = "(supports-color@9.4.0)"
			fmt.Fprintf(&packages, "    peerDependencies:\n      package-%d: ^%d.0.0\n      other-peer: '*'\n    peerDependenciesMeta:\n      other-peer:\n        optional: true\n", i+1, (i+1)%9)
		}
		fmt.Fprintf(&snapshots, "\n  package-%d@%d.%d.0%s:\n    dependencies:\n", i, i%9, i%20, peer)
		for j := 1; j <= 1+i%3; j++ {
			to := min(i*2, count-5) + j
			peer := ""
			if to%5 == 0 {
				peer = "(supports-color@9.4.0)"
			}
			fmt.Fprintf(&snapshots, "      package-%d: %d.%d.0%s\n", to, to%9, to%20, peer)
		}
		if peer != "" {
			snapshots.WriteString("    transitivePeerDependencies:\n      - supports-color\n")
		}
	}
	return "lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n\nimporters:\n\n  .:\n    dependencies:\n      package-0:\n        specifier: ^0.0.0\n        version: 0.0.0(supports-color@9.4.0)\n\npackages:\n" + packages.String() + "\nsnapshots:\n" + snapshots.String()
}

// pnpmWorstCases are lockfiles made to cost more than their size.
func pnpmWorstCases(size int) map[string]string {
	cases := map[string]string{"ordinary": bigPnpm(size)}
	add := func(name, head, tail string, entry func(i int) string) {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size; i++ {
			b.WriteString(entry(i))
		}
		b.WriteString(tail)
		cases[name] = b.String()
	}
	v9, v5 := "lockfileVersion: 9\n", "lockfileVersion: 5.4\n"
	add("tiny packages", v5+"packages:\n", "", func(i int) string { return fmt.Sprintf(" /a/1.0.%d:\n", i) })
	add("tiny packages of version 9", v9+"packages:\n", "", func(i int) string { return fmt.Sprintf(" a@1.0.%d:\n", i) })
	add("snapshots of one package", v9+"packages:\n a@1.0.0: {peerDependencies: {"+strings.Repeat("p", 1000)+": 1}}\nsnapshots:\n", "", func(i int) string { return fmt.Sprintf(" a@1.0.0(b@%d): {dependencies: {a: 1}}\n", i) })
	add("edges", v9+"snapshots:\n a@1.0.0:\n  dependencies:\n", "", func(i int) string { return fmt.Sprintf("   %d: 1\n", i) })
	add("flow edges", v9+"snapshots:\n", "", func(i int) string {
		var d strings.Builder
		for j := range 2000 {
			fmt.Fprintf(&d, "%d: 1,", j)
		}
		return fmt.Sprintf(" a@1.0.%d: {dependencies: {%s}}\n", i, d.String())
	})
	add("importers", v9+"importers:\n", "", func(i int) string { return fmt.Sprintf(" %d:\n", i) })
	add("links", v9+"importers:\n .:\n  dependencies:\n", "", func(i int) string { return fmt.Sprintf("   %d: {specifier: 1, version: 'link:x%d'}\n", i%19000, i) })
	add("links of packages", v9+"snapshots:\n", "", func(i int) string {
		return fmt.Sprintf(" a@1.0.%d: {dependencies: {a: 'link:x%d', b: 'link:y%d'}}\n", i, i, i)
	})
	add("odd packages", v9+"packages:\n", "", func(i int) string { return fmt.Sprintf(" a@1.0.%d: {resolution: {type: x}}\n", i) })
	add("missing", v9+"importers:\n", "", func(i int) string {
		return fmt.Sprintf(" %d: {dependencies: {x%d: {specifier: 1, version: 1}}}\n", i, i)
	})
	add("keys", v9+"x:\n", "", func(i int) string { return fmt.Sprintf(" %s:\n", strings.Repeat("k", 1)+fmt.Sprint(i*7919%10_000_019)) })
	add("tiny lists", v9+"x: [", "]", func(int) string { return "a," })
	add("nested lists", v9+"x: [", "]", func(int) string { return strings.Repeat("[", 90) + strings.Repeat("]", 90) + "," })
	add("dashes", v9+"x:\n", "", func(int) string { return "-\n" })
	add("deep dashes", v9+"x:\n", "", func(int) string { return strings.Repeat("- ", 90) + "\n" })
	add("escapes", v9+"x: [", "]", func(int) string { return `"\L",` })
	add("block texts", v9+"x:\n", "", func(int) string { return "- |\n\n" })
	add("continued text", v9+"x: a\n", "", func(int) string { return "  a\n" })
	add("blank lines", v9+"x: a\n", "", func(int) string { return "\n" })
	add("quotes", v9+"x: '", "'", func(int) string { return "''" })
	add("documents", "", "", func(int) string { return "---\n" })
	add("catalogs", v9+"catalogs:\n c:\n", "", func(i int) string { return fmt.Sprintf("  %d: {specifier: 1}\n", i) })
	add("patches", v9+"patchedDependencies:\n", "", func(i int) string { return fmt.Sprintf("  %d: {hash: 1, path: x}\n", i) })
	add("parentheses", v9+"snapshots:\n", "", func(i int) string {
		return fmt.Sprintf(" ? a@1.0.%d%s\n : {}\n", i, strings.Repeat("(a", 5000)+strings.Repeat(")", 5000))
	})
	return cases
}

// No lockfile may cost more than one second for 10 MB, or more than 20 times its size in memory.
func TestPnpmWorstCases(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	const size = 10 << 20
	for name, text := range pnpmWorstCases(size) {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			fsys := files(map[string]string{pnpmLockfile: text})
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			stop := make(chan struct{})
			highest := peak(stop)
			start, clock := cpu(t), time.Now()
			p, err := OpenFS(fsys, ".", Options{})
			took, wall := cpu(t)-start, time.Since(clock)
			close(stop)
			used := float64(int64(<-highest-before.HeapAlloc)) / size
			said := ""
			if err != nil {
				said = fmt.Sprintf("%.100s", err)
			}
			t.Logf("%v of processor time, %v by the clock, %.1f times the size in memory, error %s", took.Round(time.Millisecond), wall.Round(time.Millisecond), used, said)
			if took > 8*time.Second {
				t.Errorf("took %v", took)
			}
			if used > 20 {
				t.Errorf("used %.1f times the size in memory", used)
			}
			runtime.KeepAlive(p)
		})
	}
}
