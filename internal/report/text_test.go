package report

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

var update = flag.Bool("update", false, "write the golden files anew")

const subject = "package-lock.json in ./app"

// matrices are the packages that the matrix is tried on.
func matrices() map[string]*Package {
	on := func(p Package, change func(*Package)) *Package {
		change(&p)
		return &p
	}
	provenance := func() Package { return pkg("sigstore@2.0.0", verify.Provenance, policy.Allow) }
	ruledPackages, mixedPackages := ruled().Packages, mixed().Packages
	find := func(list []Package, name string) *Package {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
		panic(name)
	}
	return map[string]*Package{
		"provenance": on(provenance(), func(p *Package) { p.Publisher.Ref = "refs/heads/main" }),
		"reusable": on(provenance(), func(p *Package) {
			p.Publisher.SignerRepository, p.Publisher.SignerRef, p.Publisher.SignerDigest = "https://github.com/shared/workflows", "refs/tags/v2", commitB
			p.Publisher.Event, p.Publisher.Environment = "workflow_dispatch", "npm"
			p.Bound, p.Further = "none", []string{"https://spdx.dev/Document"}
		}),
		"gitlab": on(provenance(), func(p *Package) {
			p.Publisher = &publisher.Publisher{
				Issuer: publisher.GitLabIssuer, Repository: "https://gitlab.com/group/sub/project", Workflow: ".gitlab-ci.yml", WorkflowDigest: commitB,
				Commit: commitA, Ref: "refs/tags/v2.0.0", Event: "push", SignerRepository: "https://gitlab.com/group/sub/project",
				SignerWorkflow: ".gitlab-ci.yml", SignerRef: "refs/tags/v2.0.0", Runner: "gitlab-hosted", Run: "https://gitlab.com/group/sub/project/-/jobs/1",
				SignedAt: time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC), LogIndex: 90000001,
			}
			p.Bound = "tarball"
		}),
		// The first certificates had neither a runner nor the caller's workflow.
		"early": on(provenance(), func(p *Package) {
			p.Publisher = &publisher.Publisher{
				Issuer: publisher.GitHubIssuer, Repository: "https://github.com/npm/cli", Commit: commitA, Ref: "refs/heads/latest", Event: "push",
				SignerRepository: "https://github.com/npm/cli", SignedAt: time.Date(2023, 1, 30, 0, 0, 0, 0, time.UTC), LogIndex: 12000000,
			}
			p.Bound = "disk"
		}),
		"self-hosted": on(provenance(), func(p *Package) { p.Publisher.Runner = "self-hosted" }),
		"signed":      on(pkg("plain@1.0.0", verify.Signed, policy.Warn), func(p *Package) { p.Registry = "https://npm.example.com/registry" }),
		"unsigned":    find(mixedPackages, "internal-lib"),
		"denied":      find(mixedPackages, "bare"),
		"invalid":     find(mixedPackages, "@scope/builder"),
		"integrity":   find(mixedPackages, "left-pad"),
		"unchecked":   find(mixedPackages, "newer"),
		"other":       find(ruledPackages, "taken-over"),
		"let-through": find(ruledPackages, "known-bad"),
		"bundle": on(pkg("given@1.0.0", verify.Invalid, policy.Deny,
			row("registry-signature", verify.Skip, "bundle-given", "the attestation came from a file, so the registry was not asked"),
			row("subject", verify.Fail, "subject-digest", "the statement is about other bytes than these", strings.Repeat("0f", 64), strings.Repeat("f0", 64))), func(p *Package) {
			p.File, p.Line, p.Path, p.Bound, p.Integrity = "", 0, nil, "none", ""
			p.Findings = append(p.Findings, policy.Finding{Rule: "publisher", Level: policy.Deny, Message: "a publisher was demanded, and there is no verified provenance"})
		}),
		"demanded": on(pkg("plain@1.0.0", verify.Signed, policy.Deny), func(p *Package) {
			p.Findings = []policy.Finding{{Rule: "publisher", Level: policy.Deny, Message: "a publisher was demanded, and there is no verified provenance"}}
		}),
	}
}

// TestGolden compares what is printed with what somebody looked at and found good. To look again:
// go test ./internal/report -update && git diff.
func TestGolden(t *testing.T) {
	type golden struct {
		file  string
		write func(io.Writer) error
	}
	var all []golden
	audit := func(name string, r *Report, o TextOptions) {
		o.Subject, o.Elapsed = subject, 3200*time.Millisecond
		all = append(all, golden{name, func(w io.Writer) error { return WriteText(w, r, o) }})
	}
	for name, r := range reports() {
		if name == "hostile" {
			r = hostileShort()
		}
		if name != "filled" {
			audit("audit-"+name+".80", r, TextOptions{Width: 80})
		}
	}
	for _, width := range []int{0, 40, 200} {
		audit(fmt.Sprintf("audit-mixed.%d", width), mixed(), TextOptions{Width: width})
		audit(fmt.Sprintf("audit-clean.%d", width), clean(), TextOptions{Width: width})
	}
	audit("audit-mixed.color", mixed(), TextOptions{Width: 80, Color: true})
	audit("audit-mixed.verbose", mixed(), TextOptions{Width: 80, Verbose: true})
	audit("audit-mixed.quiet", mixed(), TextOptions{Width: 80, Quiet: true})
	audit("audit-clean.quiet", clean(), TextOptions{Width: 80, Quiet: true})
	for name, p := range matrices() {
		all = append(all, golden{"verify-" + name + ".80", func(w io.Writer) error { return WriteMatrix(w, p, TextOptions{Width: 80}) }})
	}
	for _, width := range []int{0, 40, 200} {
		all = append(all, golden{fmt.Sprintf("verify-invalid.%d", width), func(w io.Writer) error {
			return WriteMatrix(w, matrices()["invalid"], TextOptions{Width: width})
		}})
	}
	all = append(all,
		golden{"verify-invalid.color", func(w io.Writer) error {
			return WriteMatrix(w, matrices()["invalid"], TextOptions{Width: 80, Color: true})
		}},
		golden{"verify-provenance.verbose", func(w io.Writer) error {
			return WriteMatrix(w, matrices()["provenance"], TextOptions{Width: 80, Verbose: true, PrivateLog: true})
		}},
		golden{"verify-hostile.80", func(w io.Writer) error {
			r := hostileShort()
			for i := range r.Packages[:9] {
				if err := WriteMatrix(w, &r.Packages[i], TextOptions{Width: 80}); err != nil {
					return err
				}
			}
			return nil
		}},
	)
	seen := map[string]bool{}
	for _, g := range all {
		seen[g.file+".txt"] = true
		t.Run(g.file, func(t *testing.T) {
			var b bytes.Buffer
			if err := g.write(&b); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "golden", g.file+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; run the test with -update", err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s (-golden +got):\n%s", g.file, diff)
			}
		})
	}
	files, err := os.ReadDir("testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("no test reads testdata/golden/%s", f.Name())
		}
	}
}

// forEachText calls check with every report and package in every layout.
func forEachText(t *testing.T, check func(t *testing.T, o TextOptions, text string, hostile bool)) {
	t.Helper()
	type writer struct {
		name  string
		write func(io.Writer, TextOptions) error
	}
	var writers []writer
	for name, r := range reports() {
		writers = append(writers, writer{name, func(w io.Writer, o TextOptions) error { return WriteText(w, r, o) }})
	}
	for name, p := range matrices() {
		writers = append(writers, writer{"verify-" + name, func(w io.Writer, o TextOptions) error { return WriteMatrix(w, p, o) }})
	}
	h := hostile()
	writers = append(writers, writer{"verify-hostile", func(w io.Writer, o TextOptions) error {
		for i := range h.Packages {
			if err := WriteMatrix(w, &h.Packages[i], o); err != nil {
				return err
			}
		}
		return nil
	}})
	for _, x := range writers {
		for _, width := range []int{0, 1, 40, 41, 57, 80, 200} {
			for _, verbose := range []bool{false, true} {
				for _, quiet := range []bool{false, true} {
					o := TextOptions{Width: width, Verbose: verbose, Quiet: quiet, Subject: subject, Elapsed: time.Second}
					if strings.Contains(x.name, "hostile") {
						o.Subject = strings.Join(attack[:len(attack)-1], "")
					}
					var b bytes.Buffer
					if err := x.write(&b, o); err != nil {
						t.Fatal(err)
					}
					t.Run(fmt.Sprintf("%s/%d/%t/%t", x.name, width, verbose, quiet), func(t *testing.T) {
						check(t, o, b.String(), strings.Contains(x.name, "hostile") || x.name == "filled")
						o.Color = true
						var colored bytes.Buffer
						if err := x.write(&colored, o); err != nil {
							t.Fatal(err)
						}
						if stripped := sgr.ReplaceAllString(colored.String(), ""); stripped != b.String() {
							t.Errorf("without its colours the text is another one:\n%s", cmp.Diff(b.String(), stripped))
						}
						if i := strings.Index(colored.String(), "\x1b[32m"); i >= 0 {
							t.Error("something is green")
						}
					})
				}
			}
		}
	}
}

var sgr = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// No text of a registry, a lockfile or a certificate steers a terminal, and no line is wider than asked,
// save addresses and commands, which are there to be copied.
func TestTextIsHarmlessAndFits(t *testing.T) {
	forEachText(t, func(t *testing.T, o TextOptions, text string, hostile bool) {
		if text != "" && !strings.HasSuffix(text, "\n") {
			t.Error("the last line does not end")
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			for _, r := range line {
				if hidden(r, !hostile) {
					t.Fatalf("%U stands in the line %q", r, line)
				}
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("the line %q ends in a space", line)
			}
			copied := strings.Contains(line, "https://") || strings.HasPrefix(strings.TrimSpace(line), "$ ")
			if width := max(o.Width, 40); o.Width > 0 && textColumns(line) > width && !copied {
				t.Errorf("a line is %d columns wide, more than %d: %q", textColumns(line), width, line)
			}
		}
	})
}

// What nobody may read into a report: a verdict says who built a package, never that it is good.
func TestTextNeverPromises(t *testing.T) {
	promise := regexp.MustCompile(`(?i)\b(safe|secure|secured|trusted package|trustworthy|clean|harmless|good|ok)\b|[✓✔✅☑]`)
	forEachText(t, func(t *testing.T, _ TextOptions, text string, hostile bool) {
		if hostile {
			return
		}
		if m := promise.FindString(text); m != "" {
			t.Errorf("the text says %q", m)
		}
	})
}

// Having no provenance is not a failure and must not look like one.
func TestTextAbsenceIsNoFailure(t *testing.T) {
	r := New()
	for i := range 5 {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("plain-%d@1.0.0", i), verify.Signed, policy.Warn))
	}
	r.Sum()
	var b bytes.Buffer
	if err := WriteText(&b, r, TextOptions{Width: 80, Color: true}); err != nil {
		t.Fatal(err)
	}
	if err := WriteMatrix(&b, &r.Packages[0], TextOptions{Width: 80, Color: true}); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"FAIL", "DENIED", "TO LOOK AT", "error", "\x1b[1;31m", "\x1b[1;35m"} {
		if strings.Contains(b.String(), word) {
			t.Errorf("packages with a registry's signature only are told with %q:\n%s", word, b.String())
		}
	}
}

// A command that a reader is told to type holds a name only if no shell could make something else of it.
func TestTextCommands(t *testing.T) {
	for _, spec := range []string{"a;curl evil|sh@1.0.0", "$(id)@1.0.0", "`id`@1.0.0", "-rf@1.0.0", "--config=x@1.0.0", "a b@1.0.0", "a@1.0.0\n$ id", "a'@1", `a"@1`, "a&@1", "~a@1", "a>b@1", "a\\@1", "é@1"} {
		name, version, _ := strings.Cut(spec, "@")
		p := pkg("x@1.0.0", verify.Invalid, policy.Deny, row("evidence-complete", verify.Fail, "attestation-stripped", stripped), row("lockfile-integrity", verify.Fail, "integrity-mismatch", mismatch))
		p.Name, p.Version, p.File = name, version, "$(id)/package-lock.json"
		r := New()
		r.Packages = []Package{p}
		r.Sum()
		var b bytes.Buffer
		if err := WriteText(&b, r, TextOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := WriteMatrix(&b, &p, TextOptions{}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if ok && strings.ContainsAny(command, "$`;|&<>~'\"\\()\n") {
				t.Errorf("%q: the reader is told to type %q", spec, command)
			}
		}
	}
}

// Every piece of advice is about a reason that exists.
func TestAdviceIsReachable(t *testing.T) {
	var code strings.Builder
	for _, dir := range []string{"../verify", "../sigstore", "../registry", "../policy"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no source in %s (%v)", dir, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	for _, table := range []map[string]string{advice, checkAdvice, ruleAdvice} {
		for key := range table {
			if !strings.Contains(code.String(), `"`+key+`"`) {
				t.Errorf("there is advice about %q, which nothing reports", key)
			}
		}
	}
	for table := range oddRefs {
		if !strings.Contains(code.String(), `"`+table+`"`) {
			t.Errorf("%q is no reason of release-ref", table)
		}
	}
}

func TestLinks(t *testing.T) {
	tests := []struct{ repository, commit, path, tree, file string }{
		{"https://github.com/o/r", commitA, ".github/workflows/x.yml", "https://github.com/o/r/tree/" + commitA, "https://github.com/o/r/blob/" + commitA + "/.github/workflows/x.yml"},
		{"https://gitlab.com/g/s/p", commitA, ".gitlab-ci.yml", "https://gitlab.com/g/s/p/-/tree/" + commitA, "https://gitlab.com/g/s/p/-/blob/" + commitA + "/.gitlab-ci.yml"},
		{"https://github.com/o/r", "main", "x.yml", "https://github.com/o/r", ""},
		{"https://github.com/o/../../evil", commitA, "x.yml", "https://github.com/o/../../evil", ""},
		{"https://github.com/o/r", commitA, "../../../evil", "https://github.com/o/r/tree/" + commitA, ""},
		{"https://github.com/o/r?x#y", commitA, "a?b#c", "https://github.com/o/r%3Fx%23y/tree/" + commitA, "https://github.com/o/r%3Fx%23y/blob/" + commitA + "/a%3Fb%23c"},
		{"https://github.com.evil.example/o/r", commitA, "x.yml", "https://github.com.evil.example/o/r", ""},
		{"https://git.example.com/o/r", commitA, "x.yml", "https://git.example.com/o/r", ""},
		{"javascript:alert(1)", commitA, "x.yml", "javascript:alert(1)", ""},
		{"", "", "", "", ""},
	}
	for _, tt := range tests {
		if got := treeLink(tt.repository, tt.commit); got != tt.tree {
			t.Errorf("treeLink(%q, %q) = %q, want %q", tt.repository, tt.commit, got, tt.tree)
		}
		if got := fileLink(tt.repository, tt.commit, tt.path); got != tt.file {
			t.Errorf("fileLink(%q, %q, %q) = %q, want %q", tt.repository, tt.commit, tt.path, got, tt.file)
		}
	}
	for in, want := range map[string]string{
		"https://github.com/o/r/actions/runs/1/attempts/1": "https://github.com/o/r/actions/runs/1/attempts/1",
		"http://github.com/o":                              "", "javascript:alert(1)": "", "https://user:pw@github.com/": "", "https://": "", "": "", "\x1b": "",
	} {
		if got := webLink(in); got != want {
			t.Errorf("webLink(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTextError(t *testing.T) {
	broken := errors.New("broken pipe")
	if err := WriteText(&brokenWriter{0, broken}, mixed(), TextOptions{}); !errors.Is(err, broken) {
		t.Errorf("WriteText: got %v, want %v", err, broken)
	}
	if err := WriteMatrix(&brokenWriter{0, broken}, matrices()["invalid"], TextOptions{}); !errors.Is(err, broken) {
		t.Errorf("WriteMatrix: got %v, want %v", err, broken)
	}
}

func TestShares(t *testing.T) {
	tests := []struct {
		n, total, bar, want int
		percent             string
	}{
		{0, 0, 10, 0, "0%"}, {0, 5, 10, 0, "0%"}, {5, 5, 10, 10, "100%"}, {1, 1000, 10, 1, "<1%"}, {999, 1000, 10, 9, ">99%"},
		{1, 2, 10, 5, "50%"}, {1, 3, 10, 3, "33%"}, {2, 3, 10, 7, "67%"}, {990, 1000, 10, 9, "99%"},
	}
	for _, tt := range tests {
		if got := share(tt.n, tt.total, tt.bar); got != tt.want {
			t.Errorf("share(%d, %d, %d) = %d, want %d", tt.n, tt.total, tt.bar, got, tt.want)
		}
		if got := percent(tt.n, tt.total); got != tt.percent {
			t.Errorf("percent(%d, %d) = %q, want %q", tt.n, tt.total, got, tt.percent)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{1: "1ms", 340 * time.Millisecond: "340ms", 3240 * time.Millisecond: "3.2s", 59 * time.Second: "59s", 125 * time.Second: "2m5s"} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %q, want %q", d, got, want)
		}
	}
}

// Words of double width and words without spaces wrap where the terminal would.
func TestLineWraps(t *testing.T) {
	tests := []struct {
		text string
		want string
	}{
		{"日本語日本語日本語日本語日本語日本語日本語日本語", "日本語日本語日本語日本語日本語日本語日本\n  語日本語\n"},
		{strings.Repeat("a", 45), strings.Repeat("a", 40) + "\n  aaaaa\n"},
		{"one " + strings.Repeat("b", 37), "one\n  " + strings.Repeat("b", 37) + "\n"},
		{strings.Repeat("c", 40), strings.Repeat("c", 40) + "\n"},
		{strings.Repeat("e\u0301", 40), strings.Repeat("e\u0301", 40) + "\n"},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		p := newPrinter(&b, TextOptions{Width: 40})
		p.line(0, 2, t1(tt.text))
		if err := p.flush(); err != nil || b.String() != tt.want {
			t.Errorf("line(%q) = %q, want %q (%v)", tt.text, b.String(), tt.want, err)
		}
	}
}

func t1(text string) span { return span{text, plain} }

// A warning that packages with and without provenance share says of those who built them, and of the others nothing.
func TestTextNamesWithoutPublisher(t *testing.T) {
	r := New()
	known := from(pkg("built@1.0.0", verify.Provenance, policy.Warn), "acme/built", "refs/heads/main")
	for _, p := range []Package{known, pkg("signed@1.0.0", verify.Signed, policy.Warn)} {
		p.Findings = []policy.Finding{{Rule: "unbound", Level: policy.Warn, Message: "nothing ties it to bytes"}}
		r.Packages = append(r.Packages, p)
	}
	r.Sum()
	var out bytes.Buffer
	if err := WriteText(&out, r, TextOptions{Subject: subject}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"      built@1.0.0 built from https://github.com/acme/built@", "      signed@1.0.0\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// What only one of several packages with the same trouble is told of is not left out under "the same holds".
func TestTextSameTrouble(t *testing.T) {
	young := policy.Finding{Rule: "min-age", Level: policy.Deny, Message: "it is 3h old"}
	script := policy.Finding{Rule: "manifest-change", Level: policy.Warn, Message: "new postinstall script"}
	signed := policy.Finding{Rule: "signed", Level: policy.Warn, Message: "nobody attests it"}
	for _, n := range []int{2, 9} {
		r := &Report{}
		for i := range n {
			p := pkg(fmt.Sprintf("p%d@1.0.0", i), verify.Signed, policy.Deny)
			p.Findings = []policy.Finding{young, signed}
			if i == n-1 {
				p.Findings = append(p.Findings, script)
			}
			r.Packages = append(r.Packages, p)
		}
		for name, write := range map[string]func(io.Writer, *Report, TextOptions) error{"text": WriteText, "markdown": WriteMarkdown} {
			var b bytes.Buffer
			if err := write(&b, r, TextOptions{Width: 100}); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); strings.Count(got, "new postinstall script") != 1 || strings.Count(got, "nobody attests it") > 2 || !strings.Contains(got, "The same holds") {
				t.Errorf("%d packages, %s:\n%s", n, name, got)
			}
		}
	}
}

// The advice about a publisher that changed accepts that one package, and no other along with it.
func TestNextDrift(t *testing.T) {
	drift := policy.Finding{Rule: "drift", Level: policy.Deny}
	for spec, want := range map[string]string{"@acme/left@1.0.0": "assay pin --update @acme/left", "left@2.0.0": "assay pin --update left", "$(x)@1.0.0": "assay pin --update NAME"} {
		s := nextRule(drift, "assay.lock:4", spec, "package-lock.json", true)
		if s.command != want {
			t.Errorf("%s: %q", spec, s.command)
		}
		if many := s.forMany(spec); many.command != "assay pin --update NAME ..." && want != "assay pin --update NAME" {
			t.Errorf("%s and others: %q", spec, many.command)
		}
	}
}
