package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
)

// The documents for users. Their blocks of kind "console" are run: see [example].
func documents(t *testing.T) []string {
	t.Helper()
	files := []string{"README.md", "ARCHITECTURE.md", "CHANGELOG.md"}
	entries, err := os.ReadDir(filepath.Join("..", "..", "docs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".md") {
			files = append(files, "docs/"+e.Name())
		}
	}
	return files
}

func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A block is what stands between two fences.
type block struct {
	line int    // of its first line, 1-based
	kind string // what follows the opening fence
	text string
}

func blocks(t *testing.T, name string) []block {
	t.Helper()
	var all []block
	open := false
	for i, line := range strings.Split(document(t, name), "\n") {
		switch {
		case strings.HasPrefix(line, "```") && open:
			open = false
		case strings.HasPrefix(line, "```"):
			open = true
			all = append(all, block{line: i + 2, kind: strings.TrimPrefix(line, "```")})
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	if open {
		t.Errorf("%s: a fence is not closed", name)
	}
	return all
}

// docsRegistry is what documents call the lab's registry.
const docsRegistry = "https://registry.example.com"

// docsWorld is the world that the documents' examples live in. The project itself is in order; the one in the
// directory "broken" has a package that was built from another repository than it claims, and one that the
// registry did not sign; the one in "next" has an upgrade that somebody published by hand.
func docsWorld(t *testing.T) *world {
	w := newWorld(t)
	w.env["ASSAY_TUF_URL"] = w.server.URL + "/tuf" // no example leaves this machine
	widget := w.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.2.3"}, CI: lab.GitHub("acme/widget")})
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain"}})
	bare := w.publish(lab.Release{Package: lab.Package{Name: "bare"}, Unsigned: true})
	stranger := w.publish(lab.Release{Package: lab.Package{Name: "stranger", Version: "2.0.0", Manifest: map[string]any{"repository": "acme/stranger"}}, CI: lab.GitHub("mallory/stranger")})
	w.publish(lab.Release{Package: lab.Package{Name: "nameless", Manifest: map[string]any{"repository": nil}}, CI: lab.GitHub("acme/nameless")})
	handmade := w.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.2.4", Manifest: map[string]any{"scripts": map[string]any{"postinstall": "node setup.js"}}}, Tag: "next"})
	for dir, packages := range map[string][]*lab.Published{".": {widget, plain}, "broken": {widget, stranger, bare}, "next": {handmade, plain}} {
		deps := map[string]any{}
		for _, p := range packages {
			deps[p.Name] = "^" + p.Version
		}
		w.write(dir+"/package-lock.json", lab.Lockfile(w.server.URL, deps, packages))
		manifest, err := json.Marshal(map[string]any{"name": "app", "version": "1.0.0", "dependencies": deps})
		if err != nil {
			t.Fatal(err)
		}
		w.write(dir+"/package.json", manifest)
	}
	// A real attestation with its trusted root, as sigstore-go's module brings them along: README.md's $data.
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"bundles/sigstore.js@2.0.0-provenance.sigstore.json", "trusted-roots/public-good.json"} {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "pkg", "testing", "data", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		w.write("data/"+file, data)
	}
	w.write("widget-1.2.3.tgz", widget.Tarball)
	w.write("widget.sigstore.json", widget.Provenance.JSON)
	w.write("widget-attestations.json", widget.Attestations)
	w.write("keys.json", w.RegistryKeys())
	return w
}

// TestExamples runs the documents' examples. In a block of kind "console",
//
//	$ assay audit broken
//	stranger@2.0.0 … workflow-identity
//	# exit 1
//
// every line of output occurs in the real one, in this order; "…" stands for anything, white space for any
// white space; the exit code is 0 unless it is told. "$ cat FILE" does not print a file but writes it, so that
// an example can show what it is about; git and "cp A B" do what they do. A command on several lines has backslashes, as in a shell. Examples of
// one document share a world: see [docsWorld].
//
// The lab is not Sigstore's public instance, so audit and verify are given its trusted root where the example
// names none; and trust is asked offline.
func TestExamples(t *testing.T) {
	commands := 0
	for _, name := range documents(t) {
		t.Run(name, func(t *testing.T) {
			w := docsWorld(t)
			for _, b := range blocks(t, name) {
				if b.kind == "console" {
					commands += w.example(name, b)
				}
			}
		})
	}
	if commands < 20 {
		t.Errorf("only %d examples were found", commands)
	}
}

func (w *world) example(name string, b block) (commands int) {
	lines := strings.Split(strings.TrimSuffix(b.text, "\n"), "\n")
	for i := 0; i < len(lines); {
		at := b.line + i
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			w.t.Errorf("%s:%d: expected a command", name, at)
			return commands
		}
		i++
		for strings.HasSuffix(command, "\\") && i < len(lines) {
			command = strings.TrimSuffix(command, "\\") + " " + lines[i]
			i++
		}
		var output []string
		for ; i < len(lines) && !strings.HasPrefix(lines[i], "$ "); i++ {
			output = append(output, lines[i])
		}
		if strings.HasPrefix(command, "data=$(go list ") || command == "go mod download" {
			continue // what the shell is told for $data is known here: see docsWorld
		}
		command = strings.ReplaceAll(command, "$data/", "data/")
		command = strings.Replace(command, "go run ./cmd/assay ", "assay ", 1)
		switch args := strings.Fields(command); {
		case strings.ContainsAny(command, `"'|<>&;*`):
			w.t.Errorf("%s:%d: this test knows no shell", name, at)
		case args[0] == "cat" && len(args) == 2:
			text := strings.ReplaceAll(strings.Join(output, "\n")+"\n", docsRegistry, w.server.URL)
			w.write(args[1], []byte(text))
		case args[0] == "cp" && len(args) == 3:
			data, err := os.ReadFile(filepath.Join(w.project, args[1]))
			if err != nil {
				w.t.Fatalf("%s:%d: %v", name, at, err)
			}
			w.write(args[2], data)
		case args[0] == "git":
			w.git(args[1:]...)
		case args[0] == "assay" && len(args) > 1:
			commands++
			w.compare(fmt.Sprintf("%s:%d: %s", name, at, command), args[1:], output)
		default:
			w.t.Errorf("%s:%d: only assay, git, cat and cp can be run: %s", name, at, command)
		}
	}
	return commands
}

func (w *world) compare(what string, args, output []string) {
	switch args[0] {
	case "audit", "verify", "pin", "diff":
		if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--trusted-root") }) {
			args = append(args, "--trusted-root", "trusted_root.json")
		}
	case "policy":
		if args[1] == "explain" {
			args = append(args, "--trusted-root", "trusted_root.json")
		}
	case "trust":
		args = append(args, "--offline")
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], docsRegistry, w.server.URL)
	}
	r := w.run(args...)
	want := 0
	got := strings.ReplaceAll(r.stdout+r.stderr, w.server.URL, docsRegistry)
	rest := got
	for _, line := range output {
		if _, err := fmt.Sscanf(line, "# exit %d", &want); err == nil {
			continue
		}
		words := strings.Fields(line)
		if len(words) == 0 || len(words) == 1 && words[0] == "…" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(words, " ")), " ", `\s+`)
		pattern = strings.ReplaceAll(pattern, "…", `(?s:.{0,300}?)`)
		at := regexp.MustCompile(pattern).FindStringIndex(rest)
		if at == nil {
			w.t.Errorf("%s\nthis line is not printed, or not here:\n%s\nexit %d:\n%s", what, line, r.code, got)
			return
		}
		rest = rest[at[1]:]
	}
	if r.code != want {
		w.t.Errorf("%s\nexit %d, and the document says %d:\n%s", what, r.code, want, got)
	}
}

// TestPolicyExamples reads the policies that docs/policy.md shows, each as a whole file, and the file that docs/pins.md
// shows; and holds docs/policy.md to the keys, rules and variables that there are.
func TestPolicyExamples(t *testing.T) {
	n := 0
	for _, b := range blocks(t, "docs/policy.md") {
		if b.kind != "yaml" {
			continue
		}
		n++
		if _, err := policy.Parse([]byte(b.text), "docs/policy.md", nil); err != nil {
			t.Errorf("the policy at line %d: %v", b.line, err)
		}
	}
	if n < 10 {
		t.Errorf("only %d policies were found", n)
	}
	text := document(t, "docs/policy.md")
	pins := document(t, "docs/pins.md")
	told := func(text, key string) bool {
		return regexp.MustCompile("`([a-z-]+\\.|)" + regexp.QuoteMeta(key) + "`").MatchString(text)
	}
	// What the parsers know, they say themselves when a key is misspelt.
	known := func(err error) []string {
		if err == nil {
			t.Fatal("a misspelt key is read")
		}
		_, known, _ := strings.Cut(err.Error(), "nown here: ")
		return strings.Split(known, ", ")
	}
	for _, broken := range []string{
		"misspelt: 1\n", "default: {misspelt: 1}\n", "drift: {misspelt: 1}\n", "critical: [{misspelt: 1}]\n", "publishers: [{misspelt: 1}]\n", "identity: {misspelt: 1}\n",
		"downgrade: {misspelt: 1}\n", "min-age: {misspelt: 1}\n", "sources: {misspelt: 1}\n", "rules: [{misspelt: 1}]\n", "waivers: [{misspelt: 1}]\n", "ratchet: {misspelt: 1}\n",
		"registries: {\"https://a.example\": {misspelt: 1}}\n", "registries: {\"https://a.example\": {publisher: {misspelt: 1}}}\n",
	} {
		_, err := policy.Parse([]byte("version: 1\n"+broken), "x", nil)
		for _, key := range known(err) {
			if key == "level" && strings.HasPrefix(broken, "drift") {
				continue // every level may be a mapping
			}
			if key == "" || !told(text, key) {
				t.Errorf("docs/policy.md does not tell of the key %q (%v)", key, err)
			}
		}
	}
	for _, broken := range []string{"misspelt: 1\n", "cases: [{misspelt: 1}]\n", "cases: [{package: a@1.0.0, previous: {misspelt: 1}}]\n"} {
		_, err := policy.ParseCases([]byte("version: 1\n"+broken), "x")
		for _, key := range known(err) {
			if !told(text, key) {
				t.Errorf("docs/policy.md does not tell of the key %q of cases", key)
			}
		}
	}
	for _, broken := range []string{"{misspelt: 1}", "{publishers: [{misspelt: 1}]}"} {
		_, err := policy.ParseLock([]byte("version: 1\npackages: {a: {\"1\": "+broken+"}}\n"), "x")
		for _, key := range known(err) {
			if !told(pins, key) {
				t.Errorf("docs/pins.md does not tell of the key %q", key)
			}
		}
	}
	_, rules, _ := strings.Cut(text, "\n## Rules\n")
	for _, rule := range policy.BuiltIn() {
		if !strings.Contains(rules, "\n| `"+rule+"` |") {
			t.Errorf("docs/policy.md does not tell of the rule %q", rule)
		}
	}
	names, kinds := policy.Variables()
	for i, name := range names {
		if row := regexp.MustCompile("(?m)^\\|[^|]*`" + regexp.QuoteMeta(name) + "`[^|]*\\|([^|]*)\\|").FindStringSubmatch(text); row == nil || !strings.Contains(row[1], kinds[i]) {
			t.Errorf("docs/policy.md does not tell of the variable %s of type %s", name, kinds[i])
		}
	}
	defaults := ""
	for _, b := range blocks(t, "docs/policy.md") {
		if defaults == "" && b.kind == "yaml" {
			defaults = b.text
		}
	}
	written, err := policy.Parse([]byte(defaults), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name      string
		got, want any
	}{
		{"default", levels(written.Default.Invalid, written.Default.Unchecked, written.Default.Unsigned, written.Default.Signed), levels(policy.Default().Default.Invalid, policy.Default().Default.Unchecked, policy.Default().Default.Unsigned, policy.Default().Default.Signed)},
		{"identity", levels(written.Identity.NoRepository, written.Identity.SelfHosted, written.Identity.Unpinned), levels(policy.Default().Identity.NoRepository, policy.Default().Identity.SelfHosted, policy.Default().Identity.Unpinned)},
		{"sources", levels(written.Sources.Git, written.Sources.URL, written.Sources.File, written.Sources.OtherHost), levels(policy.Default().Sources.Git, policy.Default().Sources.URL, policy.Default().Sources.File, policy.Default().Sources.OtherHost)},
		{"the rest", levels(written.Drift, written.ManifestChange, written.Burst, written.Unbound, written.ExpiredKey), levels(policy.Default().Drift, policy.Default().ManifestChange, policy.Default().Burst, policy.Default().Unbound, policy.Default().ExpiredKey)},
	} {
		if !reflect.DeepEqual(v.got, v.want) {
			t.Errorf("docs/policy.md has %v as defaults of %s, and they are %v", v.got, v.name, v.want)
		}
	}
	found := false
	for _, b := range blocks(t, "docs/pins.md") {
		if !strings.HasPrefix(b.text, "# The publishers") {
			continue
		}
		found = true
		lock, err := policy.ParseLock([]byte(b.text), "docs/pins.md")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(lock.Format()); got != b.text {
			t.Errorf("docs/pins.md shows an assay.lock that would be written as\n%s", got)
		}
	}
	if !found {
		t.Error("docs/pins.md shows no assay.lock")
	}
}

func levels(settings ...policy.Setting) []policy.Level {
	var list []policy.Level
	for _, s := range settings {
		list = append(list, s.Level)
	}
	return list
}

// TestReportDocument holds the fields of the report and docs/report.md equal.
func TestReportDocument(t *testing.T) {
	fields, seen := map[string]bool{}, map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "-" && name != "" {
				fields[name] = true
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[report.Report]())
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z0-9_]+)` \\|").FindAllStringSubmatch(document(t, "docs/report.md"), -1) {
		told[m[1]] = true
	}
	for name := range fields {
		if !told[name] {
			t.Errorf("docs/report.md does not tell of the field %q", name)
		}
	}
	for name := range told {
		if !fields[name] {
			t.Errorf("docs/report.md tells of a field %q, and there is none", name)
		}
	}
}

// TestArchitecture holds the table of packages in ARCHITECTURE.md to what there is: it lists every package, and
// each imports only such as stand above it.
func TestArchitecture(t *testing.T) {
	at := map[string]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:internal|cmd)/[a-z/]+)` \\|").FindAllStringSubmatch(document(t, "ARCHITECTURE.md"), -1) {
		at["assay/"+m[1]] = len(at) + 1
	}
	list := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "assay/internal/...", "assay/cmd/...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		name, imports, _ := strings.Cut(line, " ")
		if at[name] == 0 {
			t.Errorf("ARCHITECTURE.md does not tell of %s", name)
		}
		for _, i := range strings.Fields(imports) {
			if strings.HasPrefix(i, "assay/") && at[i] >= at[name] {
				t.Errorf("%s imports %s, which stands below it in ARCHITECTURE.md", name, i)
			}
		}
	}
}

// TestLinks follows the documents' links to files of this repository, and to headings in them.
func TestLinks(t *testing.T) {
	anchors := func(name string) map[string]bool {
		all := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(document(t, name), -1) {
			anchor := strings.ToLower(m[1])
			anchor = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(anchor, "")
			all[strings.ReplaceAll(anchor, " ", "-")] = true
		}
		return all
	}
	for _, name := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(document(t, name), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(file))); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
			} else if anchor != "" && !anchors(file)[anchor] {
				t.Errorf("%s: the link to %s leads to no heading", name, m[1])
			}
		}
	}
}

// TestFlagsInDocuments: a flag that a document shows in a block or in code is one of some command, or another
// program's.
func TestFlagsInDocuments(t *testing.T) {
	w := newWorld(t)
	known := map[string]bool{}
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) `)
	var gather func(args ...string)
	gather = func(args ...string) {
		help := w.run(append(args, "--help")...).stdout
		for _, f := range flag.FindAllString(help, -1) {
			known[f] = true
		}
		_, list, ok := strings.Cut(help, "Available Commands:\n")
		if !ok {
			return
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range commands.FindAllStringSubmatch(list, -1) {
			gather(append(slices.Clone(args), m[1])...)
		}
	}
	gather()
	if !known["--trusted-root"] || !known["--output"] {
		t.Fatalf("the flags could not be gathered: %v", known)
	}
	for _, foreign := range []string{
		"--provenance", "--provenance-file", "--access", "--ignore-scripts", "--fuzztime", "--no-verify", // npm's, go's and git's
		"--certificate-identity", "--certificate-identity-regexp", "--certificate-oidc-issuer", "--cert-identity",
		"--cert-identity-regex", "--cert-oidc-issuer", "--source-ref", // spellings of verify's filters
		"--source-repo", "--certificate-github-workflow-repository", "--certificate-github-workflow-ref",
		"--certificate-github-workflow-sha", "--certificate-github-workflow-trigger",
	} {
		known[foreign] = true
	}
	for _, name := range documents(t) {
		if name == "docs/doctor.md" {
			continue // it tells of many tools' flags
		}
		text := []byte(document(t, name))
		for _, code := range regexp.MustCompile("(?s)```.*?```|`[^`\n]+`").FindAll(text, -1) {
			for _, f := range flag.FindAll(code, -1) {
				if !known[string(f)] {
					t.Errorf("%s: no command has the flag %s: %s", name, f, bytes.TrimSpace(code))
				}
			}
		}
	}
}
