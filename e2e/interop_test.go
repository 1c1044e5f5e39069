package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assay/internal/lab"
)

// A cell is what a consumer says of a package: "" is yes, else why not.
type cell string

// A row is a package, and what each consumer says of it.
type row struct {
	producer, ci string
	log          logged
	impossible   string // why there is no such package
	cells        []cell

	artifact artifact
	job      job
}

// logged is what vouches for the time of a signature.
type logged struct {
	text    string
	rekor   int
	stamped bool // there is a signed timestamp too
	intoto  bool // in the form of 2023: entry of kind intoto 0.0.2, bundle v0.2
}

var (
	v1        = logged{text: "Rekor v1", rekor: 1}
	v1Stamped = logged{text: "Rekor v1, timestamp", rekor: 1, stamped: true}
	v1Intoto  = logged{text: "Rekor v1, intoto 0.0.2", rekor: 1, intoto: true}
	v2        = logged{text: "Rekor v2, timestamp", rekor: 2, stamped: true}
)

// A table is what is written down.
type table struct {
	consumers []string
	rows      []*row
}

// TestInterop lets every producer sign for every CI system into every log, and every consumer verify it.
func TestInterop(t *testing.T) {
	d := newDesk(t)
	jobs := []func(string) job{github, gitlab}
	var signed, made table

	for _, producer := range []string{"npm", "Assay", "sigstore-go"} {
		for _, log := range []logged{v1, v1Stamped, v2} {
			if producer == "npm" && log == v1Stamped {
				continue // what npm cannot do is written down once, under v2
			}
			for _, newJob := range jobs {
				signed.rows = append(signed.rows, d.produce(producer, log, newJob))
			}
		}
	}
	bundles := map[string]json.RawMessage{}
	for _, r := range signed.rows {
		if r.impossible == "" {
			bundles[r.artifact.spec()] = d.provenance(r.artifact)
		}
	}
	app := d.install(d.env, signed.rows)
	audited := d.auditSignatures(app, d.env, signed.rows)
	d.assayAudits(app, signed.rows)
	node := d.verifyWithNode(d.TrustedRoot, nil, bundles)
	signed.consumers = []string{"`assay verify`", "`npm audit signatures`", "`npm publish --provenance-file`", "sigstore-go"}
	for _, n := range node {
		signed.consumers = append(signed.consumers, n.Package+" "+n.Version)
	}
	for _, r := range signed.rows {
		if r.impossible != "" {
			continue
		}
		spec := r.artifact.spec()
		published := r.cells[0]
		r.cells = []cell{d.assayVerifies(r), audited[spec], published, sigstoreGo(d.TrustedRoot, bundles[spec], r)}
		for _, n := range node {
			r.cells = append(r.cells, cell(n.Results[spec]))
		}
	}

	made = d.labTable(jobs)
	d.compareDocument(&signed, &made)

	// Whatever else the document may say: these have to work.
	for _, r := range signed.rows {
		if r.log.rekor == 1 && slices.ContainsFunc(r.cells, func(c cell) bool { return c != "" }) {
			t.Errorf("%s, %s, %s: %q", r.producer, r.ci, r.log.text, r.cells)
		}
		if r.impossible == "" && (r.cells[0] != "" || r.cells[3] != "") {
			t.Errorf("%s, %s, %s: Assay says %q, sigstore-go %q", r.producer, r.ci, r.log.text, r.cells[0], r.cells[3])
		}
	}
}

// produce signs and publishes a package. The row's one cell says whether npm publish --provenance-file takes the bundle.
func (d *desk) produce(producer string, log logged, newJob func(string) job) *row {
	d.Helper()
	name := fmt.Sprintf("%s-v%d-%v", strings.ToLower(producer), log.rekor, log.stamped)
	j := newJob("acme/" + name)
	r := &row{producer: producer, ci: j.ci, log: log, job: j}
	if producer == "npm" && log != v1 {
		r.impossible = "npm 11 signs into the public Rekor v1 only and asks no timestamp authority: neither can be set"
		return r
	}
	a := d.pack("@acme/"+name+"-"+strings.ToLower(j.ci), "1.0.0", j)
	r.artifact = a
	file := filepath.Join(d.home, filepath.Base(a.file)+".sigstore.json")
	switch producer {
	case "npm":
		out := d.npm(d.home, j.environ(d.Issuers), "publish", a.file, "--provenance", "--access", "public")
		if out.code != 0 {
			d.Fatalf("npm publish --provenance, %s: %v", j.ci, out)
		}
		d.write(file, d.provenance(a))
		d.Lab.Forget(a.name, a.version) // to see it published once more, with its bundle in a file
	case "Assay":
		args := []string{"attest", a.file, "-o", file, "--trusted-root", filepath.Join(d.home, "trusted_root.json")}
		// For v1 it needs no address: the default is npm's.
		if log.stamped {
			args = append(args, "--tsa-url", d.TSA)
		}
		if log.rekor == 2 {
			args = append(args, "--rekor-version", "2", "--rekor-url", d.RekorV2)
		}
		if out := d.assay(d.home, j.environ(d.Issuers), args...); out.code != 0 {
			d.Fatalf("assay attest, %s, %s: %v", j.ci, log.text, out)
		}
	case "sigstore-go":
		d.write(file, d.signWithSigstoreGo(d.statement(a, j), d.Lab.Token(j.run, "sigstore"), log.rekor, log.stamped))
	}
	out := d.npm(d.home, nil, "publish", a.file, "--provenance-file", file, "--access", "public")
	r.cells = []cell{""}
	if out.code != 0 {
		r.cells[0] = npmError(out)
		bundle, err := os.ReadFile(file)
		d.must(err)
		d.publishAsIs(a, j, bundle)
	}
	return r
}

// publishAsIs puts a package into the registry that npm would not publish.
func (d *desk) publishAsIs(a artifact, j job, bundle []byte) {
	d.Helper()
	tarball, err := os.ReadFile(a.file)
	d.must(err)
	_, err = d.Lab.Publish(lab.Release{
		Package: lab.Package{Name: a.name, Version: a.version, Tarball: tarball}, CI: j.run, NoProvenance: true,
		Attestations: func(list []lab.Attestation) []lab.Attestation {
			return append(list, lab.Attestation{PredicateType: j.run.Statement(a.name, a.version, a.sha512[:]).PredicateType, Bundle: bundle})
		},
	})
	d.must(err)
}

var npmErrorLine = regexp.MustCompile(`(?m)^npm error (.*)$`)

// npmError is what npm says in its own words, without the code and the log file's name.
func npmError(out outcome) cell {
	var lines []string
	for _, m := range npmErrorLine.FindAllStringSubmatch(out.stderr, -1) {
		if !strings.HasPrefix(m[1], "code ") && !strings.HasPrefix(m[1], "A complete log") && m[1] != "" {
			lines = append(lines, m[1])
		}
	}
	if lines == nil {
		return cell(fmt.Sprintf("exit code %d", out.code))
	}
	return cell(strings.Join(lines, " "))
}

// install installs the packages of all rows in one application, whose directory it returns.
func (d *desk) install(env []string, rows []*row) string {
	d.Helper()
	dependencies := map[string]string{}
	for _, r := range rows {
		if r.impossible == "" {
			dependencies[r.artifact.name] = r.artifact.version
		}
	}
	manifest, err := json.Marshal(map[string]any{"name": "app", "version": "1.0.0", "private": true, "dependencies": dependencies})
	d.must(err)
	app := d.TempDir()
	d.write(filepath.Join(app, "package.json"), manifest)
	if out := d.npm(app, env, "install", "--ignore-scripts"); out.code != 0 {
		d.Fatalf("npm install: %v", out)
	}
	return app
}

// assayAudits lets assay audit an application, and every package in it has to be traced to its publisher.
func (d *desk) assayAudits(app string, rows []*row) {
	d.Helper()
	out := d.assay(app, nil, append([]string{"audit", "--json"}, d.trusted()...)...)
	var answer struct {
		Packages []struct{ Name, Version, Verdict string }
	}
	if err := json.Unmarshal([]byte(out.stdout), &answer); err != nil || out.code != 0 {
		d.Fatalf("assay audit: %v", out)
	}
	verdicts := map[string]string{}
	for _, p := range answer.Packages {
		verdicts[p.Name+"@"+p.Version] = p.Verdict
	}
	for _, r := range rows {
		if v := verdicts[r.artifact.spec()]; r.impossible == "" && v != "provenance" {
			d.Errorf("assay audit: the verdict of %s is %q", r.artifact.spec(), v)
		}
	}
}

// auditSignatures lets npm audit the application that has the packages of all rows.
func (d *desk) auditSignatures(app string, env []string, rows []*row) map[string]cell {
	d.Helper()
	out := d.npm(app, env, "audit", "signatures", "--json", "--include-attestations")
	type finding struct{ Name, Version, Code, Message string }
	var answer struct{ Invalid, Missing, Verified []finding }
	if err := json.Unmarshal([]byte(out.stdout), &answer); err != nil {
		d.Fatalf("npm audit signatures: %v: %v", err, out)
	}
	result := map[string]cell{}
	for _, r := range rows {
		if r.impossible == "" {
			result[r.artifact.spec()] = "npm does not name it"
		}
	}
	for _, f := range answer.Verified {
		result[f.Name+"@"+f.Version] = ""
	}
	for _, f := range append(answer.Invalid, answer.Missing...) {
		result[f.Name+"@"+f.Version] = cell(strings.ReplaceAll(f.Message, f.Name+"@"+f.Version, "the package"))
	}
	return result
}

// assayVerifies runs assay verify as a consumer would who knows where the package should come from.
func (d *desk) assayVerifies(r *row) cell {
	d.Helper()
	args := append([]string{"verify", r.artifact.spec(), "--repo", strings.TrimSuffix(strings.TrimPrefix(r.job.repository, "git+"), ".git")}, d.trusted()...)
	out := d.assay(d.home, nil, args...)
	if out.code != 0 {
		return refused(out)
	}
	return ""
}

// refused is how a report of assay begins.
func refused(out outcome) cell {
	text := out.String()
	return cell(text[:min(len(text), 400)])
}

func sigstoreGo(trustedRoot, bundle []byte, r *row) cell {
	if err := verifyWithSigstoreGo(trustedRoot, bundle, r.artifact.sha512[:], r.job.run); err != nil {
		return cell(err.Error())
	}
	return ""
}

// labTable lets the consumers verify what a lab made: its own certificates and log entries, with its own trusted root.
func (d *desk) labTable(jobs []func(string) job) table {
	d.Helper()
	l, err := lab.New(lab.Options{})
	d.must(err)
	p, err := l.ListenProxy()
	d.must(err)
	defer p.Close()
	home := d.TempDir()
	env, err := p.NPMEnv(home)
	d.must(err)
	root, keys := d.write("lab/trusted_root.json", l.TrustedRoot()), d.write("lab/keys.json", l.RegistryKeys())

	var made table
	bundles := map[string]json.RawMessage{}
	for i, log := range []logged{v1, v1Stamped, v1Intoto, v2} {
		for _, newJob := range jobs {
			j := newJob("acme/made")
			r := &row{producer: "lab", ci: j.ci, log: log, job: j}
			release := lab.Release{Package: lab.Package{Name: fmt.Sprintf("@acme/made-%s-%d", strings.ToLower(j.ci), i), Version: "1.0.0"}, CI: j.run}
			release.Timestamp = log.stamped
			if log.intoto {
				release.Kind, release.MediaType = lab.Intoto, lab.MediaTypeV02
			}
			if log.rekor == 2 {
				release.Log = l.RekorV2
			}
			pub, err := l.Publish(release)
			d.must(err)
			r.artifact = artifact{name: pub.Name, version: pub.Version, sha512: pub.SHA512}
			bundles[r.artifact.spec()] = pub.Provenance.JSON
			bundles["publish "+r.artifact.spec()] = pub.Publish.JSON
			made.rows = append(made.rows, r)
		}
	}
	audited := d.auditSignatures(d.install(env, made.rows), env, made.rows)
	node := d.verifyWithNode(l.TrustedRoot(), map[string]string{l.Key.ID: pemText(l.Key.SPKI())}, bundles)
	made.consumers = []string{"`assay verify`", "`npm audit signatures`", "sigstore-go"}
	for _, n := range node {
		made.consumers = append(made.consumers, n.Package+" "+n.Version)
	}
	for _, r := range made.rows {
		spec := r.artifact.spec()
		verified := cell("")
		if out := d.assay(home, env, "verify", spec, "--trusted-root", root, "--registry-keys", keys); out.code != 0 {
			verified = refused(out)
		}
		r.cells = []cell{verified, audited[spec], sigstoreGo(l.TrustedRoot(), bundles[spec], r)}
		for _, n := range node {
			c := cell(n.Results[spec])
			if publish := n.Results["publish "+spec]; publish != "" {
				c = cell("the publish attestation: " + publish)
			}
			r.cells = append(r.cells, c)
		}
		if r.log.rekor == 1 && slices.ContainsFunc(r.cells, func(c cell) bool { return c != "" }) {
			d.Errorf("lab, %s, %s: %q", r.ci, r.log.text, r.cells)
		}
	}
	return made
}

// because explains refusals, by what the consumer says.
var because = []struct{ says, why string }{
	{"digest mismatch", "the verifier compares the digest in an entry of kind hashedrekord 0.0.2 with the payload's, and not with that of what the envelope's signature is over (the pre-authentication encoding), as Rekor v2 demands it. Later versions of @sigstore/verify compare it with that"},
}

// compareDocument writes docs/interop.md, or compares it with what it would write.
func (d *desk) compareDocument(signed, made *table) {
	d.Helper()
	versions := [][2]string{
		{"npm", d.nodeVersion("npm")}, {"@sigstore/verify", d.nodeVersion("@sigstore/verify") + " (as in that npm) and " + d.nodeVersion("@sigstore/verify-next")},
		{"sigstore-go", d.goVersion("github.com/sigstore/sigstore-go")},
		{"Fulcio", d.required("servers", "github.com/sigstore/fulcio")}, {"Rekor v1", d.required("servers", "github.com/sigstore/rekor")},
		{"Rekor v2 (rekor-tiles, POSIX storage)", d.required("rekor2", "github.com/sigstore/rekor-tiles/v2")},
		{"timestamp authority", d.required("servers", "github.com/sigstore/timestamp-authority/v2")},
		{"certificate transparency log (ct_server)", d.required("ctlog", "github.com/google/certificate-transparency-go")},
	}
	var b strings.Builder
	b.WriteString(`# Who accepts whose signatures

This page is written by the end-to-end tests: ` + "`e2e/run test -update`" + ` makes it, and every other run compares it with what it finds.
Each row is a package that was packed by npm, signed in a job's name, and published with its provenance. Certificates, certificate
timestamps, log entries and timestamps were made by the real services, run on one machine from their released sources (two lines
differ: the metrics of Fulcio and Rekor v1 are bound to loopback). Job tokens, registry and TUF repository are those of Assay's lab.
Every consumer is run unmodified and led to these services by a proxy.

| program | version |
| --- | --- |
`)
	for _, v := range versions {
		fmt.Fprintf(&b, "| %s | %s |\n", v[0], v[1])
	}
	b.WriteString("\n## Signed with the real services\n\n")
	reasons := &reasons{}
	signed.markdown(&b, reasons)
	b.WriteString("\n## Made by the lab\n\nThe lab's own certificates and log entries, with its own trusted root; in the last two columns both the provenance and the registry's\npublish attestation. For the same token and key the lab writes the certificate extensions that Fulcio writes, byte for byte, and for the\nsame entry the body that Rekor writes; that is a test of its own.\n\n")
	made.markdown(&b, reasons)
	b.WriteString("\n## Why not\n\n")
	for i, r := range reasons.list {
		fmt.Fprintf(&b, "%d. %s\n", i+1, r)
	}
	b.WriteString("\n`@sigstore/verify` only verifies, so it is no producer; what npm signs is signed by its sibling `@sigstore/sign`.\nAssay signs into Rekor v1 unless it is told otherwise, for the sake of npm 11.\n")

	const name = "../docs/interop.md"
	if *update {
		d.must(os.WriteFile(name, []byte(b.String()), 0o644))
		return
	}
	have, err := os.ReadFile(name)
	d.must(err)
	if diff := cmp.Diff(strings.Split(string(have), "\n"), strings.Split(b.String(), "\n")); diff != "" {
		d.Errorf("docs/interop.md is not what this run found; e2e/run test -update writes it anew (-file +found):\n%s", diff)
	}
}

// reasons are numbered in the order in which they are first needed.
type reasons struct{ list []string }

func (r *reasons) number(text string) int {
	i := slices.Index(r.list, text)
	if i < 0 {
		i = len(r.list)
		r.list = append(r.list, text)
	}
	return i + 1
}

func (t *table) markdown(b *strings.Builder, why *reasons) {
	fmt.Fprintf(b, "| signed by | job | log | %s |\n|%s\n", strings.Join(t.consumers, " | "), strings.Repeat(" --- |", 3+len(t.consumers)))
	for _, r := range t.rows {
		fmt.Fprintf(b, "| %s | %s | %s |", r.producer, r.ci, r.log.text)
		for i := range t.consumers {
			switch {
			case r.impossible != "":
				fmt.Fprintf(b, " – (%d) |", why.number(r.impossible+"."))
			case r.cells[i] == "":
				b.WriteString(" yes |")
			default:
				fmt.Fprintf(b, " no (%d) |", why.number(explain(r.cells[i])))
			}
		}
		b.WriteString("\n")
	}
}

func explain(c cell) string {
	text := strings.Join(strings.Fields(string(c)), " ")
	for _, e := range because {
		if strings.Contains(text, e.says) {
			return "“" + e.says + "”: " + e.why + "."
		}
	}
	return "“" + text + "”"
}

// nodeVersion is the version of an installed npm package.
func (d *desk) nodeVersion(name string) string {
	d.Helper()
	data, err := os.ReadFile(filepath.Join("npm", "node_modules", name, "package.json"))
	d.must(err)
	var doc struct{ Version string }
	d.must(json.Unmarshal(data, &doc))
	return doc.Version
}

// goVersion is the version of a module that the tests are built with.
func (d *desk) goVersion(module string) string { return d.required(".", module) }

var requirement = regexp.MustCompile(`(?m)^(?:require )?\s*(\S+) (v\S+)`)

// required is the version of a module that a go.mod asks for.
func (d *desk) required(dir, module string) string {
	d.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	d.must(err)
	for _, m := range requirement.FindAllStringSubmatch(string(data), -1) {
		if m[1] == module {
			return m[2]
		}
	}
	d.Fatalf("%s/go.mod does not require %s", dir, module)
	return ""
}
