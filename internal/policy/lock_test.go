package policy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"assay/internal/publisher"
	"assay/internal/verify"
)

const small = `# The publishers that this project accepted, written by ` + "`assay pin`" + `. Commit it with the lockfile.
version: 1

packages:
  "@acme/tools":
    "0.3":
      floor: signed
      versions: [0.3.1, 0.3.10]
    "1":
      floor: provenance
      versions: [1.0.0-rc.1, 1.0.0]
      publishers:
        - issuer: https://token.actions.githubusercontent.com
          repository: https://github.com/acme/tools
          repository_id: 11
          owner: https://github.com/acme
          owner_id: 22
          workflow: .github/workflows/release.yml
          signer_workflow: https://github.com/acme/flows/.github/workflows/publish.yml
          ref: "refs/tags/{basename}@{version}"
          events: [push, workflow_dispatch]
          runner: github-hosted
          environment: npm

  left-pad:
    "1":
      floor: unsigned
      versions: [1.3.0]
`

// TestParseLock: what is not exactly a pin is an error with its place, whichever reader reads it.
func TestParseLock(t *testing.T) {
	l, err := ParseLock([]byte(small), "assay.lock")
	if err != nil {
		t.Fatal(err)
	}
	if fast, line := written([]byte(small), "assay.lock"); fast == nil {
		t.Errorf("line %d is not read in the written form", line)
	}
	pin, others := l.Pin("@acme/tools", "1.4.0")
	if pin == nil || !others || pin.At != 9 || pin.Publishers[0].At != 13 || pin.Publishers[0].RepositoryID != "11" || !slices.Equal(pin.Publishers[0].Events, []string{"push", "workflow_dispatch"}) {
		t.Errorf("%+v", pin)
	}
	if !l.Holds("@acme/tools", "0.3.10") || l.Holds("@acme/tools", "0.3.2") || l.Holds("right-pad", "1.3.0") {
		t.Error("the versions held are others")
	}
	for _, tt := range []struct{ old, new, wantErr string }{
		{"version: 1\n", "", "`version: 1` is missing"},
		{"version: 1\n", "version: 2\n", "assay.lock:2:10: version must be 1"},
		{"floor: signed", "floor: singed", `assay.lock:7:14: "singed" is not a verdict that can be pinned; known are provenance, signed, unsigned; did you mean signed?`},
		{"floor: signed", "flor: signed", `assay.lock:7:7: unknown key "flor"; did you mean floor?`},
		{"      floor: unsigned\n", "", "assay.lock:26:5: `floor:` of left-pad 1 is missing"},
		{"floor: provenance", "floor: signed", "@acme/tools 1 has publishers and a floor of signed"},
		{"floor: unsigned", "floor: provenance", "`publishers:` of left-pad 1 is missing"},
		{"[1.3.0]", "[1.3]", `write "1.3" in quotes`},
		{"[1.3.0]", `["1.3"]`, `"1.3" is not a version of release line 1`},
		{"[1.3.0]", "[2.3.0]", `"2.3.0" is not a version of release line 1`},
		{"left-pad:", "Left Pad:", `"Left Pad" is not the name of a package`},
		{"left-pad:", `"@acme/tools":`, "@acme/tools stands twice"},
		{"    \"0.3\":\n      floor: signed\n      versions: [0.3.1, 0.3.10]\n", "    \"1\":\n      floor: signed\n", "release line 1 of @acme/tools stands twice"},
		{`"0.3":`, `"0":`, `"0" is not a release line`},
		{`"0.3":`, `"1.2":`, `"1.2" is not a release line`},
		{`"0.3":`, `"":`, `"" is not a release line`},
		{`"0.3":`, `"0.03":`, `"0.03" is not a release line`},
		{"issuer: https://token", "isuer: https://token", `unknown key "isuer"; did you mean issuer?`},
		{"          workflow: .github/workflows/release.yml\n", "", "`workflow:` of the publisher is missing"},
		{"repository_id: 11", "repository_id: eleven", `"eleven" is no id`},
		{"repository_id: 11", "repository_id: 011", `"011" is no id`},
		{"ref: \"refs", "ref: \"heads", "write it in full"},
		{"{basename}", "{base}", "known in braces"},
		{"events: [push", "events: [&a push", "anchors and aliases"},
		{"floor: unsigned", "floor: !!str unsigned", "tags are not used"},
		{"runner: github-hosted", "runner: github-hosted\n          runner: github-hosted", "stands twice"},
		{"  left-pad:\n", "<<<<<<< HEAD\n  left-pad:\n", "assay.lock:25: the file has merge conflicts; `assay pin` merges both sides"},
		{"    \"1\":\n      floor: unsigned\n      versions: [1.3.0]\n", "    {}\n", "expected release lines of left-pad here"},
	} {
		if strings.Count(small, tt.old) == 0 {
			t.Fatalf("%q is not there", tt.old)
		}
		if _, err := ParseLock([]byte(strings.Replace(small, tt.old, tt.new, 1)), "assay.lock"); err == nil || !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%q for %q: error %v, want %q", tt.new, tt.old, err, tt.wantErr)
		}
	}
	large := append([]byte(small), bytes.Repeat([]byte("  # a\tb\n"), maxOtherLock/8)...)
	if _, err := ParseLock(large, "assay.lock"); err == nil || !strings.Contains(err.Error(), "not as `assay pin` writes it") {
		t.Errorf("a large file in another form: %v", err)
	}
	if _, err := ParseLock(make([]byte, maxLock+1), "assay.lock"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file too large: %v", err)
	}
}

// drawLock makes up pins, hostile texts of publishers among them.
func drawLock(t *rapid.T) *Lock {
	l := &Lock{File: "assay.lock", Pins: map[string][]Pin{}}
	text := rapid.OneOf(rapid.SampledFrom([]string{
		"https://token.actions.githubusercontent.com", ".github/workflows/release.yml", "push", "on", "null", "1.0", "123", "2026-01-01", "a]\n  evil: b", "x: y", "# no",
		"\"", "a, b", "&a", "*a", "!!binary", "<<", "-", "?", ":", "=======", "~", "0x1f", "1e3", ".inf", "true", "É", "\u2028", "\x00", "a:b", "a:", "1:2", "@x", "`", "{a}", "%", "ends with space ",
	}), rapid.StringN(1, 20, 60).Filter(func(s string) bool { return strings.ToValidUTF8(s, "") == s && s != "" }))
	number := rapid.OneOf(rapid.Just(""), rapid.Map(rapid.Uint32(), func(n uint32) string { return fmt.Sprint(n) }))
	optional := rapid.OneOf(rapid.Just(""), text)
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"react", "@acme/tools", "left-pad", "true", "on", "123", "y", "a.b", "1.0", "null", "e5", "0x1"}), 0, 5, rapid.ID).Draw(t, "names") {
		for _, line := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"0.0", "0.3", "0.10", "1", "2", "10"}), 1, 3, rapid.ID).Draw(t, "lines") {
			pin := Pin{Line: line, Floor: rapid.SampledFrom([]verify.Verdict{verify.Provenance, verify.Signed, verify.Unsigned}).Draw(t, "floor")}
			for _, end := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "-rc.1", "-1", "+build.5", "-0e5"}), 0, 3, rapid.ID).Draw(t, "versions") {
				pin.Versions = append(pin.Versions, padded(line)+end)
			}
			if pin.Floor == verify.Provenance {
				for range rapid.IntRange(1, 3).Draw(t, "publishers") {
					pin.Publishers = append(pin.Publishers, Pinned{
						Issuer: text.Draw(t, "issuer"), Repository: text.Draw(t, "repository"), RepositoryID: number.Draw(t, "id"), Owner: optional.Draw(t, "owner"),
						OwnerID: number.Draw(t, "owner id"), Workflow: text.Draw(t, "workflow"), SignerWorkflow: optional.Draw(t, "signer"),
						Ref:    RefPattern(rapid.SampledFrom([]string{"refs/heads/main", "refs/tags/v{version}", "refs/heads/a#b", "refs/?", "refs/heads/é"}).Draw(t, "ref")),
						Events: slices.Sorted(slices.Values(rapid.SliceOfN(text, 0, 3).Draw(t, "events"))), Runner: optional.Draw(t, "runner"), Environment: optional.Draw(t, "environment"),
					})
				}
			}
			l.Pins[name] = append(l.Pins[name], pin)
		}
	}
	return l
}

// clean is a lock without what parsing adds: places, and the order of what is a set.
func clean(l *Lock) map[string][]Pin {
	pins := map[string][]Pin{}
	for name, list := range l.Pins {
		for _, p := range list {
			p.At = 0
			p.Versions = slices.Sorted(slices.Values(p.Versions))
			p.Publishers = slices.Clone(p.Publishers)
			for i := range p.Publishers {
				p.Publishers[i].At = 0
				if len(p.Publishers[i].Events) == 0 {
					p.Publishers[i].Events = nil
				}
			}
			slices.SortFunc(p.Publishers, func(a, b Pinned) int { return slices.Compare(a.fields(), b.fields()) })
			pins[name] = append(pins[name], p)
		}
		slices.SortFunc(pins[name], func(a, b Pin) int { return compareLines(a.Line, b.Line) })
	}
	return pins
}

// TestLockRoundTrip: what is written is read back as it was, by both readers, in whatever order it was put in and with
// either end of lines; and the same pins are the same bytes.
func TestLockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLock(t)
		data := l.Format()
		got, err := ParseLock(data, "assay.lock")
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if !reflect.DeepEqual(clean(got), clean(l)) {
			t.Fatalf("read back as %+v\nwant %+v\n%s", clean(got), clean(l), data)
		}
		slow, err := parseLock(data, "assay.lock")
		if err != nil || !reflect.DeepEqual(slow, got) {
			t.Fatalf("YAML reads %+v, %v\nthe own reader %+v\n%s", slow, err, got, data)
		}
		if again := got.Format(); !bytes.Equal(again, data) {
			t.Fatalf("written again:\n%s\nbefore:\n%s", again, data)
		}
		crlf, err := ParseLock(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")), "assay.lock")
		if err != nil || !reflect.DeepEqual(crlf, got) {
			t.Fatalf("with CRLF: %v\n%s", err, data)
		}
		shuffled := &Lock{Pins: map[string][]Pin{}}
		for name, pins := range l.Pins {
			pins = slices.Clone(pins)
			rand.Shuffle(len(pins), func(i, j int) { pins[i], pins[j] = pins[j], pins[i] })
			for i := range pins {
				pins[i].Versions, pins[i].Publishers = slices.Clone(pins[i].Versions), slices.Clone(pins[i].Publishers)
				rand.Shuffle(len(pins[i].Versions), func(a, b int) { v := pins[i].Versions; v[a], v[b] = v[b], v[a] })
				rand.Shuffle(len(pins[i].Publishers), func(a, b int) { v := pins[i].Publishers; v[a], v[b] = v[b], v[a] })
			}
			shuffled.Pins[name] = pins
		}
		if other := shuffled.Format(); !bytes.Equal(other, data) {
			t.Fatalf("in another order:\n%s\nbefore:\n%s", other, data)
		}
	})
}

// TestScalar: a text is read back as it was, as a text, in block and in flow.
func TestScalar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringMatching(`[a-z0-9.:/_+\-]{1,8}`), rapid.StringMatching(`[0-9.eExXoO_:+\-]{1,8}`), rapid.StringMatching(`(?i)(true|no|on|null|\.nan|inf|y)[.a]?`), rapid.String()).Draw(t, "s")
		if strings.ToValidUTF8(s, "") != s {
			return
		}
		var n yaml.Node
		text := fmt.Sprintf("%s: [%s, %s]\n", scalar(s), scalar(s), scalar(s))
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		m := n.Content[0]
		for _, c := range []*yaml.Node{m.Content[0], m.Content[1].Content[0], m.Content[1].Content[1]} {
			if c.Value != s || c.Tag != "!!str" {
				t.Fatalf("%q is read as %q, %s: %s", s, c.Value, c.Tag, text)
			}
		}
	})
}

// many are pins of a large project, a fifth of them of publishers.
func many(n int) *Lock {
	l := &Lock{Pins: make(map[string][]Pin)}
	for i := range n {
		name := fmt.Sprintf("package-%d", i)
		pin := Pin{Line: "1", Floor: verify.Signed, Versions: []string{"1.2.3"}}
		if i%5 == 0 {
			name = fmt.Sprintf("@scope%d/package", i)
			pin.Floor = verify.Provenance
			pin.Publishers = []Pinned{{
				Issuer: publisher.GitHubIssuer, Repository: fmt.Sprintf("https://github.com/acme/repo-%d", i), RepositoryID: fmt.Sprint(100000 + i), Owner: "https://github.com/acme", OwnerID: "123456",
				Workflow: ".github/workflows/release.yml", Ref: "refs/heads/main", Events: []string{"push"}, Runner: "github-hosted",
			}}
		}
		l.Pins[name] = []Pin{pin}
	}
	return l
}

// TestParseLockIsQuick: the pins of a large project take next to no time beside its lockfile.
func TestParseLockIsQuick(t *testing.T) {
	data := many(1500).Format()
	least := time.Hour
	for range 20 {
		start := time.Now()
		if _, err := ParseLock(data, "assay.lock"); err != nil {
			t.Fatal(err)
		}
		least = min(least, time.Since(start))
	}
	t.Logf("%d bytes in %v", len(data), least)
	if least > 20*time.Millisecond {
		t.Errorf("the pins of 1,500 packages take %v", least)
	}
}

func BenchmarkParseLock(b *testing.B) {
	data := many(1500).Format()
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseLock(data, "assay.lock"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("yaml", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseLock(data, "assay.lock"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("format", func(b *testing.B) {
		l := many(1500)
		for b.Loop() {
			l.Format()
		}
	})
}

// FuzzParseLock: what the own reader reads, YAML reads alike; what is read is written and read again as it was.
func FuzzParseLock(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(strings.ReplaceAll(small, "\n", "\r\n")))
	f.Add([]byte("version: 1\npackages:\n  a:\n    \"1\":\n      floor: signed\n      versions: [1.0.0]\n"))
	f.Add([]byte("version: 1\npackages: {a: {\"1\": {floor: signed}}}\n"))
	f.Add([]byte("version: 1\npackages:\n  a:\n    \"1\":\n      floor: signed\n      versions: [\"1.0.0\", 1.0.0-a] # b\n"))
	f.Add([]byte("version: 1\npackages:\n  123:\n    \"0.1\": # c\n      floor: unsigned\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxOtherLock {
			return
		}
		l, err := ParseLock(data, "assay.lock")
		if err != nil {
			return
		}
		if fast, _ := written(data, "assay.lock"); fast != nil {
			slow, err := parseLock(data, "assay.lock")
			if err != nil || !reflect.DeepEqual(fast, slow) {
				t.Fatalf("the own reader: %+v\nYAML: %+v, %v\n%q", fast, slow, err, data)
			}
		}
		again, err := ParseLock(l.Format(), "assay.lock")
		if err != nil || !reflect.DeepEqual(clean(again), clean(l)) {
			t.Fatalf("%v\n%q\nis written as\n%s", err, data, l.Format())
		}
	})
}

// TestWrittenIsYAML: the own reader reads nothing otherwise than YAML does, whatever line of a file is damaged.
func TestWrittenIsYAML(t *testing.T) {
	lines := strings.SplitAfter(small, "\n")
	damage := []func(string) string{
		func(s string) string { return "" }, func(s string) string { return s + s }, func(s string) string { return " " + s }, func(s string) string { return strings.TrimPrefix(s, " ") },
		func(s string) string { return "\t" + s }, func(s string) string { return strings.Replace(s, ":", "", 1) }, func(s string) string { return strings.Replace(s, ": ", ":", 1) },
		func(s string) string { return strings.Replace(s, ": ", ":  ", 1) }, func(s string) string { return strings.TrimSuffix(s, "\n") + " \n" },
		func(s string) string { return strings.TrimSuffix(s, "\n") + " # c\n" }, func(s string) string { return "# c\n" + s }, func(s string) string { return "#\x01\n" + s },
		func(s string) string { return s + "            more\n" }, func(s string) string { return s + "---\n" }, func(s string) string { return s + "...\n" },
		func(s string) string { return strings.ReplaceAll(s, "\"", "'") }, func(s string) string { return strings.ReplaceAll(s, "\"", "") }, func(s string) string { return strings.ReplaceAll(s, "[", "") },
		func(s string) string { return strings.ReplaceAll(s, ", ", ",") }, func(s string) string { return strings.ReplaceAll(s, "- ", "-  ") }, func(s string) string { return strings.ReplaceAll(s, "1", "true") },
		func(s string) string { return strings.TrimSuffix(s, "\n") + "\r\r\n" }, func(s string) string { return strings.Replace(s, "a", "\r", 1) }, func(s string) string { return strings.Replace(s, "a", "\u0085", 1) },
		func(s string) string { return "\ufeff" + s }, func(s string) string { return strings.Replace(s, "a", "é", 1) }, func(s string) string { return "%YAML 1.2\n" + s },
	}
	read := 0
	for i := range lines {
		for k, d := range damage {
			other := slices.Clone(lines)
			other[i] = d(other[i])
			data := []byte(strings.Join(other, ""))
			fast, _ := written(data, "assay.lock")
			if fast == nil {
				continue
			}
			read++
			slow, err := parseLock(data, "assay.lock")
			if err != nil || !reflect.DeepEqual(fast, slow) {
				t.Errorf("line %d, damage %d:\nthe own reader %+v\nYAML %+v, %v", i+1, k, fast, slow, err)
			}
		}
	}
	if read < 30 {
		t.Errorf("only %d were read", read)
	}
}

// mergeLocks merges two sides' assay.lock by git itself, as it lies in the work tree afterwards.
func mergeLocks(t *testing.T, base, ours, theirs *Lock) (merged []byte, conflict bool) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not there")
	}
	dir := t.TempDir()
	git := func(args ...string) error {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false", "-c", "merge.conflictStyle=diff3", "-c", "core.autocrlf=false"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && args[0] != "merge" {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return err
	}
	file := filepath.Join(dir, "assay.lock")
	commit := func(l *Lock) {
		if err := os.WriteFile(file, l.Format(), 0o644); err != nil {
			t.Fatal(err)
		}
		git("add", ".")
		git("commit", "-q", "--allow-empty", "-m", "pins")
	}
	git("init", "-q", "-b", "main")
	commit(base)
	git("checkout", "-q", "-b", "theirs")
	commit(theirs)
	git("checkout", "-q", "main")
	commit(ours)
	conflict = git("merge", "-q", "--no-edit", "theirs") != nil
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data, conflict
}

// TestMergeByGit: two branches' pins of different packages merge by themselves; where git cannot tell, both sides are
// put together, and what they really disagree about is named.
func TestMergeByGit(t *testing.T) {
	with := func(l *Lock, name string, pins ...Pin) *Lock {
		next := &Lock{Pins: map[string][]Pin{}}
		for n, p := range l.Pins {
			next.Pins[n] = p
		}
		if next.Pins[name] = pins; pins == nil {
			delete(next.Pins, name)
		}
		return next
	}
	base := many(30)
	signed := func(line string, versions ...string) Pin {
		return Pin{Line: line, Floor: verify.Signed, Versions: versions}
	}
	attested := func(repository string, versions ...string) Pin {
		return Pin{Line: "1", Floor: verify.Provenance, Versions: versions, Publishers: []Pinned{{
			Issuer: publisher.GitHubIssuer, Repository: repository, RepositoryID: "1", OwnerID: "2", Workflow: ".github/workflows/a.yml", Ref: "refs/heads/main", Events: []string{"push"}, Runner: "github-hosted",
		}}}
	}
	for _, tt := range []struct {
		name         string
		ours, theirs *Lock
		clean        bool
		want         *Lock
		disputed     []string
	}{
		{"different packages far apart", with(base, "package-1", signed("1", "1.2.4")), with(base, "package-28", signed("1", "1.2.4")), true,
			with(with(base, "package-1", signed("1", "1.2.4")), "package-28", signed("1", "1.2.4")), nil},
		{"new packages far apart", with(base, "aaa", signed("1", "1.0.0")), with(base, "zzz", signed("1", "1.0.0")), true, with(with(base, "aaa", signed("1", "1.0.0")), "zzz", signed("1", "1.0.0")), nil},
		{"new packages side by side", with(base, "zzz1", signed("1", "1.0.0")), with(base, "zzz2", signed("2", "2.0.0")), false, with(with(base, "zzz1", signed("1", "1.0.0")), "zzz2", signed("2", "2.0.0")), nil},
		{"one goes, another comes", with(base, "package-1"), with(base, "package-7", signed("1", "1.2.4")), true, with(with(base, "package-1"), "package-7", signed("1", "1.2.4")), nil},
		{"other lines of one package", with(base, "package-1", signed("1", "1.2.3"), signed("2", "2.0.0")), with(base, "package-1", signed("0.9", "0.9.0"), signed("1", "1.2.3")), true,
			with(base, "package-1", signed("0.9", "0.9.0"), signed("1", "1.2.3"), signed("2", "2.0.0")), nil},
		{"other versions by the same publisher", with(base, "x", attested("https://github.com/a/x", "1.0.1")), with(base, "x", attested("https://github.com/a/x", "1.0.2")), false,
			with(base, "x", attested("https://github.com/a/x", "1.0.1", "1.0.2")), nil},
		{"other versions by other publishers", with(base, "x", attested("https://github.com/a/x", "1.0.1")), with(base, "x", attested("https://github.com/evil/x", "1.0.2")), false,
			base, []string{"x 1"}},
		{"another floor", with(base, "package-1", signed("1", "1.2.4")), with(base, "package-1", Pin{Line: "1", Floor: verify.Unsigned, Versions: []string{"1.2.5"}}), false,
			with(base, "package-1"), []string{"package-1 1"}},
		{"the same on both", with(base, "x", attested("https://github.com/a/x", "1.0.1")), with(base, "x", attested("https://github.com/a/x", "1.0.1")), true, with(base, "x", attested("https://github.com/a/x", "1.0.1")), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, conflict := mergeLocks(t, base, tt.ours, tt.theirs)
			if conflict == tt.clean {
				t.Fatalf("conflict %t:\n%s", conflict, data)
			}
			got, disputed := (*Lock)(nil), map[string]Dispute(nil)
			var err error
			if conflict {
				if _, err := ParseLock(data, "assay.lock"); err == nil || !strings.Contains(err.Error(), "merge conflicts") {
					t.Errorf("a conflict is read: %v", err)
				}
				got, disputed, err = Merge(data, "assay.lock")
			} else {
				got, err = ParseLock(data, "assay.lock")
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, data)
			}
			if !bytes.Equal(got.Format(), tt.want.Format()) {
				t.Errorf("merged:\n%s\nwant:\n%s", got.Format(), tt.want.Format())
			}
			if len(disputed) != len(tt.disputed) || len(disputed) > 0 && disputed[tt.disputed[0]] == (Dispute{}) {
				t.Errorf("disputed %v, want %v", disputed, tt.disputed)
			}
		})
	}
}

// FuzzMerge: a merge has no pin that neither side has, loses none but those in dispute, and does not depend on whose side
// is whose.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(small), []byte(strings.Replace(small, "0.3.10", "0.3.11", 1)), uint8(3), uint8(9))
	f.Add([]byte("<<<<<<< a\n=======\n>>>>>>> b\n"), []byte(""), uint8(0), uint8(0))
	f.Add([]byte("<<<<<<< a\nversion: 1\n||||||| c\n=======\nversion: 1\n>>>>>>> b\npackages:\n"), []byte("x"), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, a, b []byte, from, to uint8) {
		if len(a)+len(b) > 1<<16 {
			return
		}
		Merge(a, "assay.lock") // whatever it is, it ends in an error or in pins
		x, errX := ParseLock(a, "assay.lock")
		y, errY := ParseLock(b, "assay.lock")
		if errX != nil || errY != nil {
			return
		}
		ours, theirs := x.Format(), y.Format()
		conflicted := func(ours, theirs []byte) []byte {
			return slices.Concat([]byte("<<<<<<< HEAD\n"), ours, []byte("=======\n"), theirs, []byte(">>>>>>> other\n"))
		}
		merged, disputed, err := Merge(conflicted(ours, theirs), "assay.lock")
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, ours, theirs)
		}
		other, otherDisputed, err := Merge(conflicted(theirs, ours), "assay.lock")
		if err != nil || !reflect.DeepEqual(disputed, turned(otherDisputed)) || !bytes.Equal(merged.Format(), other.Format()) {
			t.Fatalf("it depends on the side: %v\n%s\n%s", err, merged.Format(), other.Format())
		}
		for _, side := range []*Lock{x, y} {
			for name, pins := range side.Pins {
				for i := range pins {
					if merged.line(name, pins[i].Line) == nil && disputed[name+" "+pins[i].Line] == (Dispute{}) {
						t.Fatalf("%s %s is lost", name, pins[i].Line)
					}
				}
			}
		}
		for name, pins := range merged.Pins {
			for _, pin := range pins {
				var floors []verify.Verdict
				for _, side := range []*Lock{x, y} {
					if p := side.line(name, pin.Line); p != nil {
						floors = append(floors, p.Floor)
					}
				}
				if !slices.Contains(floors, pin.Floor) {
					t.Fatalf("%s %s has a floor that neither side has", name, pin.Line)
				}
			}
		}
	})
}

func turned(disputed map[string]Dispute) map[string]Dispute {
	other := make(map[string]Dispute)
	for line, d := range disputed {
		other[line] = Dispute{d.Theirs, d.Ours}
	}
	return other
}
