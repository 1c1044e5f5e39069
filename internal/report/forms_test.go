package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"assay/internal/policy"
	"assay/internal/verify"
)

// forms are the forms for other programs, by name.
var forms = map[string]func(io.Writer, *Report, TextOptions) error{
	"sarif": WriteSARIF, "markdown": WriteMarkdown, "github": WriteGitHub, "gitlab": WriteGitLab, "csv": WriteCSV,
}

// under names files as they are named where the project lies in a directory of the repository.
func under(dir string) func(string) string {
	return func(file string) string {
		if path.IsAbs(file) {
			return file
		}
		return path.Join(dir, file)
	}
}

// TestForms compares what is written with what somebody looked at and found good, as [TestGolden] does.
func TestForms(t *testing.T) {
	seen := map[string]bool{}
	for form, write := range forms {
		for _, name := range []string{"mixed", "ruled", "empty", "attested", "hostile"} {
			r := reports()[name]
			if name == "hostile" {
				r = hostileShort()
			}
			file := name + "." + form
			seen[file] = true
			t.Run(file, func(t *testing.T) {
				var b bytes.Buffer
				if err := write(&b, r, TextOptions{Subject: subject, Elapsed: 3 * time.Second, Version: "1.2.3", Locate: under("app"), Flags: []string{"--registry", "https://npm.example.com"}}); err != nil {
					t.Fatal(err)
				}
				got := b.Bytes()
				if form == "sarif" || form == "gitlab" { // a golden file is for people to read
					var v bytes.Buffer
					if err := json.Indent(&v, got, "", "  "); err != nil {
						t.Fatal(err)
					}
					got = v.Bytes()
				}
				got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")) // TestCSV looks at these
				golden := filepath.Join("testdata", "forms", file)
				if *update {
					if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(golden, got, 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatalf("%v; run the test with -update", err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("%s (-golden +got):\n%s", file, diff)
				}
			})
		}
	}
	files, err := os.ReadDir("testdata/forms")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("no test reads testdata/forms/%s", f.Name())
		}
	}
}

// markup is text as an attacker would like it to reach a forge's page.
var markup = []string{
	`<img src=x onerror=alert(1)>`, `<script>alert(1)</script>`, `</details></td></table>`, `<!--`, `<a href="https://evil.example">x</a>`, `&lt;b&gt; &#64;octocat`,
	`![x](https://evil.example/x.png)`, `[click](https://evil.example)`, `[click][1]`, `<https://evil.example>`, `https://evil.example/x`, `http://evil.example`,
	`www.evil.example`, `mailto:a@evil.example`, `a@evil.example`, `xmpp:a@evil.example/x`, `ftp://evil.example`, `(https://evil.example)`, `"https://evil.example"`,
	`@octocat`, `@octocat/team`, `mention @octocat now`, `(@octocat)`, `"@octocat"`, `,@octocat,`, `#1`, `see #1`, `GH-1`, `evil/repo#1`, `evil/repo@26d16513386ffaa790b1c32f927544f1322e4194`,
	`26d16513386ffaa790b1c32f927544f1322e4194`, `deadbeef`, "`", "``", "a`b`c", "`@octocat`", "\\`@octocat\\`", "\\", "a\\", `a|b`, `a\|b`, `||`, `|---|`, `*a*`, `_a_`, `**a**`, `~~a~~`, `$a$`, "$`a`$",
	`:tada:`, `[^1]`, `[^1]: x`, `# h`, `- x`, `1. x`, `1) x`, `+ x`, `> x`, `---`, `===`, "a\n\n# h\n", "a\n</details>\n", "    code", "\tcode", "~~~", "```", "::error::x", "##[error]x",
	"=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "＝1", "a,b", `a"b`, "a\nb", "100%", "%0A::error::x", "%25", "a::b", "{0}", "{{0}}", "[a](1)", "a]b",
}

// hostiles are reports that say such things everywhere.
func hostiles() map[string]*Report {
	return map[string]*Report{"terminal": hostile(), "markup": hostileWith(markup)}
}

func TestFormsHostile(t *testing.T) {
	for form, write := range forms {
		for name, r := range hostiles() {
			for _, o := range []TextOptions{{}, {Subject: strings.Join(markup, " "), FailOnWarn: true, Verbose: true, Locate: under("a"), Flags: []string{"--registry", "x'; $(id) `id`\n"}}} {
				var b, again bytes.Buffer
				if err := write(&b, r, o); err != nil {
					t.Fatal(err)
				}
				if err := write(&again, r, o); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
					t.Errorf("%s of %s: the second time the bytes differ (%v)", form, name, err)
				}
				if !utf8.Valid(b.Bytes()) {
					t.Errorf("%s of %s is not UTF-8", form, name)
				}
				for i, c := range b.String() {
					if c != '\n' && (c != '\r' || form != "csv") && hidden(c, false) {
						t.Fatalf("%s of %s: %U stands there as it is, after %q", form, name, c, b.String()[max(0, i-60):i])
					}
				}
			}
		}
	}
}

func TestFormsError(t *testing.T) {
	broken := errors.New("broken pipe")
	for form, write := range forms {
		if err := write(&brokenWriter{0, broken}, mixed(), TextOptions{}); !errors.Is(err, broken) {
			t.Errorf("%s: got %v, want %v", form, err, broken)
		}
	}
}

// denials is a report of n packages that fail, each for a reason of its own.
func denials(n int) *Report {
	r := New()
	for i := range n {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("package-%d@1.0.0", i), verify.Invalid, policy.Deny,
			row("lockfile-integrity", verify.Fail, "integrity-mismatch", fmt.Sprintf("%s (%d)", mismatch, i), integrityA, integrityB)))
	}
	for i := range n {
		r.Packages = append(r.Packages, from(pkg(fmt.Sprintf("built-%d@1.0.0", i), verify.Provenance, policy.Allow), fmt.Sprintf("owner/repo-%d", i), "refs/heads/main"))
	}
	r.Sum()
	return r
}

func TestMarkdownFits(t *testing.T) {
	all := hostiles()
	all["clean"], all["outage"], all["denials"], all["few"] = clean(), outage(), denials(2000), denials(60)
	for name, r := range all {
		var b bytes.Buffer
		if err := WriteMarkdown(&b, r, TextOptions{Verbose: true}); err != nil {
			t.Fatal(err)
		}
		if n := utf8.RuneCount(b.Bytes()); n > 65_536 || b.Len() > 65_536 {
			t.Errorf("%s: %d characters", name, n)
		}
		if name == "denials" != strings.Contains(b.String(), "This is not all") && name != "terminal" && name != "markup" && name != "clean" {
			t.Errorf("%s: %d bytes, and whether that is all is told wrongly", name, b.Len())
		}
		if a, b := strings.Count(b.String(), "<details>\n"), strings.Count(b.String(), "</details>\n"); a != b {
			t.Errorf("%s: %d <details> and %d </details>", name, a, b)
		}
		for _, most := range []int{1000, 10_000, 1 << 20, 8 << 20} {
			b.Reset()
			if err := WriteStepSummary(&b, r, TextOptions{}, most); err != nil || b.Len() > min(most, 1<<20) {
				t.Errorf("%s: a summary of %d bytes where %d are left (%v)", name, b.Len(), most, err)
			}
		}
	}
}

// TestMarkdownIsInert renders Markdown as GitHub does and looks at what became of hostile text: no element but those
// that the report is made of, no link but to a forge, and outside of code nothing that GitHub makes a mention, an
// issue, a commit or an address of.
func TestMarkdownIsInert(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not here to install a Markdown renderer")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(cache, "assay-tests", "micromark-4")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "micromark-extension-gfm")); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		install := exec.Command(npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "micromark@4.0.2", "micromark-extension-gfm@3.0.0")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Skipf("no Markdown renderer can be installed: %v: %.300s", err, out)
		}
	}
	script := filepath.Join(dir, "render.mjs")
	if err := os.WriteFile(script, []byte(`import {micromark} from 'micromark'
import {gfm, gfmHtml} from 'micromark-extension-gfm'
import {readFileSync} from 'node:fs'
process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(text => micromark(text, {extensions: [gfm()], htmlExtensions: [gfmHtml()], allowDangerousHtml: true, allowDangerousProtocol: true}))))
`), 0o644); err != nil {
		t.Fatal(err)
	}
	render := func(texts ...string) []string {
		in, err := json.Marshal(texts)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("node", script)
		cmd.Stdin, cmd.Dir = bytes.NewReader(in), dir
		out, err := cmd.Output()
		var pages []string
		if err != nil || json.Unmarshal(out, &pages) != nil || len(pages) != len(texts) {
			t.Fatal(err)
		}
		return pages
	}
	if html := render("a <img> www.evil.example ~~x~~")[0]; !strings.Contains(html, "<img>") || !strings.Contains(html, "href=") || !strings.Contains(html, "<del>") {
		t.Fatalf("the renderer does not do what GitHub's does, so this shows nothing: %s", html)
	}
	code := regexp.MustCompile(`(?s)<code>.*?</code>`)
	tag := regexp.MustCompile(`<[^>]*>`)
	allowed := regexp.MustCompile(`^</?(h2|h3|p|strong|em|ul|li|details|summary|table|thead|tbody|tr|th|td)>$|^<br ?/?>$|^<t[hd] align="right">$|^<a href="https://(github|gitlab)\.com/[A-Za-z0-9./_%-]+">$|^</a>$`)
	active := regexp.MustCompile(`@|#|://|(?i:www\.|mailto:|gh-\d)|\b[0-9a-f]{7,40}\b|[|*~$^]|:[a-z]+:|\[|\]\(`)
	all := hostiles()
	all["mixed"], all["ruled"], all["denials"] = mixed(), ruled(), denials(5)
	// Each text alone, so that what comes before it cannot hide it.
	for i, s := range append(markup, attack...) {
		all[fmt.Sprint("alone-", i, " ", s[:min(len(s), 20)])] = hostileWith([]string{s})
	}
	var names, texts []string
	for name, r := range all {
		var b bytes.Buffer
		if err := writeMarkdown(&b, r, TextOptions{Subject: strings.Join(markup, " "), Verbose: true, FailOnWarn: true}, 1<<20); err != nil {
			t.Fatal(err)
		}
		names, texts = append(names, name), append(texts, b.String())
	}
	for i, html := range render(texts...) {
		name, html := names[i], code.ReplaceAllString(html, "")
		for _, x := range tag.FindAllString(html, -1) {
			if !allowed.MatchString(x) {
				t.Errorf("%s: there is a %s", name, x)
			}
		}
		text := tag.ReplaceAllString(html, "\n")
		if at := active.FindStringIndex(text); at != nil {
			t.Errorf("%s: %q stands outside of code", name, text[max(0, at[0]-40):min(len(text), at[1]+20)])
		}
		for _, x := range []string{"details", "summary", "table", "tr", "td", "ul", "li"} {
			if a, b := strings.Count(html, "<"+x), strings.Count(html, "</"+x+">"); x != "td" && a-strings.Count(html, "<"+x+"ead") != b {
				t.Errorf("%s: %d <%s> and %d </%s>", name, a, x, b, x)
			}
		}
		for line := range strings.Lines(strings.ReplaceAll(html, "</td>\n", "</td>")) {
			if n := strings.Count(line, "</td>"); n != 0 && n != 3 {
				t.Errorf("%s: a row has %d cells: %s", name, n, line)
			}
		}
	}
}

// What is quoted in sentences of this program stands as code, without the quotes.
func TestProseQuotes(t *testing.T) {
	for in, want := range map[string]string{
		"correct `repository` in package.json.": "correct `repository` in `package.json`.",
		"(`a-b`), `c`":                          "(`a-b`), `c`",
		"run `assay pin`; then (`a b.c`).":      "run `assay pin`; then (`a b.c`).",
		"`a `b c`":                              "`\\u{60}a` `b c`",
		"`a b":                                  "`\\u{60}a` b",
		"3h old at 01:40 UTC, 5 → 30d.":         "3h old at 01:40 UTC, 5 → 30d.",
		"`` ` a`b `a`b`":                        "`\\u{60}\\u{60}` `\\u{60}` `a\\u{60}b` `a\\u{60}b`",
	} {
		if got := prose(in); got != want {
			t.Errorf("prose(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPlainWord(t *testing.T) {
	for w, want := range map[string]bool{
		"word": true, "Word.": true, "(word),": true, "don't": true, "one-sided": true, "1,204": true, "12": true, "sha512": true, `"word"`: true, "word?": true,
		"a.b": false, "@a": false, "#1": false, "12.": false, "12,": true, "1)": false, "(12": false, "a/b": false, "a--b": false, "-a": false, "a-": false, "deadbeef": false, "0x1": false, "é": false,
		"<b>": false, "a:b": false, "": false, "'": false, "_a_": false, "a1b2c3d": false, strings.Repeat("a", 41): false, "1234567": true,
		"→": true, "01:40": true, "24h": true, "(3d);": true, "1:40": false, "01:40:": false, "12345d": false, "1a": false, "→x": false,
	} {
		if got := plainWord(w); got != want {
			t.Errorf("plainWord(%q) = %t", w, got)
		}
	}
}

// runnerCommand reads a line as GitHub's runner does: actions/runner, src/Runner.Common/ActionCommand.cs.
func runnerCommand(line string) (kind string, properties map[string]string, text string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "::")
	if !ok {
		return "", nil, "", false
	}
	head, text, ok := strings.Cut(rest, "::")
	if !ok {
		return "", nil, "", false
	}
	kind, list, _ := strings.Cut(head, " ")
	properties = map[string]string{}
	for _, p := range strings.Split(list, ",") {
		if name, value, ok := strings.Cut(p, "="); ok {
			properties[strings.TrimSpace(name)] = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%").Replace(value)
		}
	}
	return kind, properties, strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%").Replace(text), true
}

func TestGitHubCommands(t *testing.T) {
	all := reports()
	for name, r := range hostiles() {
		all[name] = r
	}
	all["denials"] = denials(500)
	for name, r := range all {
		var b bytes.Buffer
		if err := WriteGitHub(&b, r, TextOptions{Locate: under("app"), Subject: "a, b: 100% ##[x", FailOnWarn: true, Verbose: true}); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for line := range strings.Lines(b.String()) {
			kind, properties, text, ok := runnerCommand(line)
			if !ok || strings.Contains(line, "##[") || strings.ContainsRune(line, '\r') {
				t.Fatalf("%s: %q is no command", name, line)
			}
			counts[kind]++
			for p := range properties {
				if p != "file" && p != "line" && p != "title" {
					t.Errorf("%s: there is a property %s: %q", name, p, line)
				}
			}
			if properties["title"] == "" || text == "" && kind != "notice" {
				t.Errorf("%s: %q has no title or text", name, line)
			}
			if len(line) > 3*4500 {
				t.Errorf("%s: a command of %d bytes", name, len(line))
			}
		}
		for kind, n := range counts {
			if n > 10 || kind != "error" && kind != "warning" && kind != "notice" {
				t.Errorf("%s: %d commands of kind %s", name, n, kind)
			}
		}
		if counts["notice"] == 0 {
			t.Errorf("%s: nothing sums up", name)
		}
	}
	var b bytes.Buffer
	if err := WriteGitHub(&b, denials(500), TextOptions{Locate: under("app")}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	_, first, text, _ := runnerCommand(lines[0])
	if first["file"] != "app/package-lock.json" || first["line"] != "109" || !strings.HasPrefix(first["title"], "package-0@1.0.0 lockfile-integrity") || !strings.Contains(text, mismatch) {
		t.Errorf("the first command is %q", lines[0])
	}
	if _, tenth, _, _ := runnerCommand(lines[9]); tenth["title"] != "and 491 packages more" || tenth["file"] != "" {
		t.Errorf("the tenth command is %q", lines[9])
	}
	// A name that would end its property, or begin another command, comes back whole.
	r := denials(1)
	r.Packages[0].File = "a,line=9::x%0A\r\n::stop-commands::y"
	b.Reset()
	if err := WriteGitHub(&b, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, p, _, _ := runnerCommand(strings.Split(b.String(), "\n")[0]); p["file"] != Escape(r.Packages[0].File) || p["line"] != "109" {
		t.Errorf("the file comes back as %q, line %q", p["file"], p["line"])
	}
}

func TestGitLabReport(t *testing.T) {
	all := reports()
	for name, r := range hostiles() {
		all[name] = r
	}
	for name, r := range all {
		var b bytes.Buffer
		if err := WriteGitLab(&b, r, TextOptions{Locate: under("app"), FailOnWarn: true}); err != nil {
			t.Fatal(err)
		}
		var list []gitlabIssue
		if err := json.Unmarshal(b.Bytes(), &list); err != nil || b.Bytes()[0] != '[' {
			t.Fatalf("%s: %v", name, err)
		}
		seen := map[string]bool{}
		for _, x := range list {
			if x.Description == "" || x.CheckName == "" || x.Fingerprint == "" || seen[x.Fingerprint] || x.Location.Path == "" || x.Location.Lines.Begin < 1 ||
				!regexp.MustCompile(`^(info|minor|major|critical|blocker)$`).MatchString(x.Severity) || strings.HasPrefix(x.Location.Path, "./") {
				t.Errorf("%s: %+v", name, x)
			}
			seen[x.Fingerprint] = true
		}
		if name == "mixed" && (len(list) == 0 || list[0].Severity != "critical" || list[0].Location.Path != "app/package-lock.json") {
			t.Errorf("mixed begins with %+v", list[0])
		}
		if name == "empty" && b.String() != "[]\n" {
			t.Errorf("nothing to tell is %q", b.String())
		}
	}
}

func TestCSV(t *testing.T) {
	all := reports()
	for name, r := range hostiles() {
		all[name] = r
	}
	for name, r := range all {
		var b bytes.Buffer
		if err := WriteCSV(&b, r, TextOptions{}); err != nil {
			t.Fatal(err)
		}
		if strings.Count(b.String(), "\n") != strings.Count(b.String(), "\r\n") || strings.Count(b.String(), "\r\n") != 1+len(r.Packages)+len(r.Others) {
			t.Errorf("%s: not every line ends in CRLF, or a cell holds a line's end", name)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 1+len(r.Packages)+len(r.Others) {
			t.Fatalf("%s: %d rows (%v)", name, len(rows), err)
		}
		for _, cells := range rows {
			for _, c := range cells {
				if c != "" && strings.ContainsRune("=+-@\t\r|%＝＋－＠", []rune(c)[0]) {
					t.Errorf("%s: a cell begins as a formula: %q", name, c)
				}
			}
		}
	}
}

// A command to type carries the flags of the run, as a shell takes them.
func TestTyped(t *testing.T) {
	s := step{command: "assay verify a@1.0.0"}
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{nil, "assay verify a@1.0.0"},
		{[]string{"--registry", "https://npm.example.com:8443/x", "--trusted-root=root.json"}, "assay verify a@1.0.0 --registry https://npm.example.com:8443/x --trusted-root=root.json"},
		{[]string{"--policy", "my policy.yaml"}, "assay verify a@1.0.0 --policy 'my policy.yaml'"},
		{[]string{"--policy", "$(id)'`\n"}, `assay verify a@1.0.0 --policy '$(id)'\''` + "`" + `\u{a}'`},
	} {
		if got := s.typed(tt.flags); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.flags, got, tt.want)
		}
	}
	if got := (step{command: "npm pack a@1.0.0"}).typed([]string{"--registry", "x"}); got != "npm pack a@1.0.0" {
		t.Errorf("another program's command is %s", got)
	}
}
