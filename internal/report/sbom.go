package report

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// DocumentOptions are what documents that other tools keep (CycloneDX, SPDX, SLSA VSA) say beside the report and
// [TextOptions.Version]. The same report and options give the same bytes.
type DocumentOptions struct {
	// Time is when the document is made; zero: not told, where the format lets it be left out. For documents
	// that can be made again byte for byte it is SOURCE_DATE_EPOCH, where that is set, and else zero.
	Time time.Time

	// EvidenceAt is when the evidence archive was made that answered in place of registries, as it says, and
	// EvidenceSHA512 the hex digest of its bytes; zero and "" where registries were asked.
	EvidenceAt     time.Time
	EvidenceSHA512 string

	Verifier     string // VSA: URI of who verified; "" stands for assay itself, see [DefaultVerifier]
	PolicyURI    string // VSA: URI of the policy; "" stands for assay's defaults, see [DefaultPolicy]
	PolicySHA256 string // VSA: hex digest of the policy's bytes; "" leaves it out
}

// tool is the name that assay has as a tool in documents.
const tool = "assay"

// assayPrefix begins the names of all properties that assay writes. The names are documented in docs/sbom.md.
const assayPrefix = "assay:"

// A property is one thing that a document says of a component, as CycloneDX's properties.
type property struct{ name, value string }

// properties are what is said of a package: the verdict, the decision, the publisher, each check.
func (p *Package) properties() []property {
	out := []property{
		{"assay:verdict", string(p.Verdict)},
		{"assay:decision", string(p.Decision)},
		{"assay:bound", p.Bound},
		{"assay:registry", p.Registry},
	}
	add := func(name, value string) {
		if value != "" {
			out = append(out, property{name, value})
		}
	}
	add("assay:integrity", p.Integrity)
	if b := p.Publisher; b != nil {
		for _, f := range publisherFields(b) {
			add("assay:publisher:"+f.name, f.value)
		}
	}
	for _, c := range p.Checks {
		value := string(c.Status)
		if c.Reason != "" {
			value += " " + c.Reason
		}
		add("assay:check:"+c.ID, value)
	}
	out = appendFindings(out, p.Findings)
	for _, f := range p.Further {
		add("assay:further", f)
	}
	return escaped(out)
}

// publisherFields are the fields of a publisher by the names of the JSON report.
func publisherFields(b *publisher.Publisher) []property {
	signed := ""
	if !b.SignedAt.IsZero() {
		signed = b.SignedAt.UTC().Format(time.RFC3339Nano)
	}
	return []property{
		{"issuer", b.Issuer}, {"repository", b.Repository}, {"repository_id", b.RepositoryID},
		{"owner", b.Owner}, {"owner_id", b.OwnerID},
		{"workflow", b.Workflow}, {"workflow_digest", b.WorkflowDigest}, {"ref", b.Ref}, {"commit", b.Commit}, {"event", b.Event},
		{"signer_repository", b.SignerRepository}, {"signer_workflow", b.SignerWorkflow},
		{"signer_ref", b.SignerRef}, {"signer_digest", b.SignerDigest},
		{"runner", b.Runner}, {"visibility", b.Visibility}, {"environment", b.Environment}, {"run", b.Run},
		{"signed_at", signed}, {"log_index", strconv.FormatInt(b.LogIndex, 10)},
	}
}

// properties are what is said of a dependency from no registry.
func (o *Other) properties() []property {
	return escaped(appendFindings([]property{{"assay:source", o.Source}, {"assay:decision", string(o.Decision)}}, o.Findings))
}

func appendFindings(out []property, findings []policy.Finding) []property {
	for _, f := range findings {
		place := ""
		if f.File != "" {
			place = fmt.Sprintf(" [%s:%d]", f.File, f.Line)
		}
		out = append(out, property{"assay:finding", fmt.Sprintf("%s %s%s: %s", f.Level, f.Rule, place, f.Message)})
	}
	return out
}

// properties are what is said of the run as a whole. Where the trust root came from is of one run and not of
// what was found, so it is left out.
func (r *Report) properties() []property {
	out := []property{
		{"assay:report", r.Schema},
		{"assay:trust:root_sha256", r.Trust.RootSHA256},
		{"assay:trust:keys_sha256", r.Trust.KeysSHA256},
	}
	if r.Trust.Stale != "" {
		out = append(out, property{"assay:trust:stale", r.Trust.Stale})
	}
	for _, c := range []struct {
		name string
		n    int
	}{
		{"packages", r.Summary.Packages}, {"provenance", r.Summary.Provenance}, {"signed", r.Summary.Signed},
		{"unsigned", r.Summary.Unsigned}, {"invalid", r.Summary.Invalid}, {"unchecked", r.Summary.Unchecked},
	} {
		out = append(out, property{"assay:summary:" + c.name, strconv.Itoa(c.n)})
	}
	return escaped(out)
}

// escaped makes values fit for every format and for a terminal, in place: registries and repositories chose
// some of them, and XML has no way at all to write a control character.
func escaped(properties []property) []property {
	for i := range properties {
		properties[i].value = Escape(properties[i].value)
	}
	return properties
}

// A reference is a link from a component to something outside. Type is one of CycloneDX's.
type reference struct{ kind, url, comment string }

// referenceMark begins the comments of the references that assay adds, so that a later run finds them.
const referenceMark = "assay: "

// references are where the provenance of a package can be looked at: nil unless the verdict is provenance.
// Nothing in them is a claim: each comes from the verified certificate, or is where the registry serves what
// verified.
func (p *Package) references() []reference {
	b := p.Publisher
	if p.Verdict != verify.Provenance || b == nil {
		return nil
	}
	var out []reference
	add := func(kind, address, comment string) {
		if address = httpURL(address); address != "" {
			out = append(out, reference{kind, address, referenceMark + comment})
		}
	}
	add("attestation", p.attestationsURL(), "attestations that verify")
	if base, _ := forgeOf(b.Repository); base != "" && hexDigits(b.Commit) {
		out = append(out, reference{"vcs", "git+" + base + ".git#" + b.Commit, referenceMark + "source repository at the commit that the package was built from"})
	}
	add("build-meta", fileLink(b.Repository, cmp.Or(b.WorkflowDigest, b.Commit), b.Workflow), "workflow that built the package")
	add("build-system", b.Run, "run that built the package")
	return out
}

// built says who built a package, in the words of every report; "" unless the verdict is provenance.
func (p *Package) built() string {
	b := p.Publisher
	if p.Verdict != verify.Provenance || b == nil {
		return ""
	}
	return Escape(fmt.Sprintf("built from %s@%s by %s", b.Repository, b.Commit, b.Workflow))
}

// purl is the package URL, "" where name and version are none that have one.
func (p *Package) purl() string {
	if (npm.ID{Name: p.Name, Version: p.Version}).Check() != nil {
		return ""
	}
	return p.PURL
}

// attestationsURL is where the registry serves the attestations of a version.
func (p *Package) attestationsURL() string {
	u, err := url.Parse(p.Registry)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/-/npm/v1/attestations/" + npm.EscapeName(p.Name) + "@" + url.PathEscape(p.Version)
}

// tarballURL is where the package's tarball is: where the lockfile says, else where npm's public registry has
// it; "" where neither tells.
func (p *Package) tarballURL() string {
	if p.Resolved == "" && p.Registry == npmRegistry {
		return npmRegistry + "/" + npm.TarballPath(npm.ID{Name: p.Name, Version: p.Version})
	}
	return httpURL(p.Resolved)
}

// httpURL returns a web address in a form that every reader takes, without user name and password; "" for
// anything else.
func httpURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return plainURL(u)
}

// plainURL writes a URL with nothing in it that is not a URL's, and no password.
func plainURL(u *url.URL) string {
	if _, ok := u.User.Password(); ok || u.Scheme == "https" || u.Scheme == "http" {
		u.User = nil
	}
	out := u.String()
	for i := 0; i < len(out); i++ {
		if c := out[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return ""
		}
	}
	return out
}

// otherURL is the address of a dependency from no registry, such as "git+ssh://git@host/x.git#COMMIT"; "" where
// it has none that means anything elsewhere.
func otherURL(o *Other) string {
	u, err := url.Parse(o.Resolved)
	if err != nil || u.Host == "" || !slices.Contains([]string{"https", "http", "ssh", "git", "git+https", "git+http", "git+ssh"}, u.Scheme) {
		return ""
	}
	return plainURL(u)
}

// purl is the package URL of a dependency that was fetched from git or a URL; "" for any other, which no package
// URL can name. What it holds after the "?" tells readers that it is no version of the registry's.
func (o *Other) purl() string {
	id := npm.ID{Name: o.Name, Version: o.Version}
	address := otherURL(o)
	if id.Check() != nil || address == "" {
		return ""
	}
	key := "download_url"
	if o.Source == "git" {
		key = "vcs_url"
	} else if o.Source != "url" {
		return ""
	}
	return npm.PURLParts{ID: id, Qualifiers: map[string]string{key: address}}.String()
}

// digest is one hash of a tarball. The names are those of CycloneDX and SPDX.
type digest struct{ cyclonedx, spdx, intoto, hex string }

// digests are the hashes in an integrity, each algorithm once, strongest first; nil for one that is no
// integrity.
func digests(integrity string) []digest {
	in, err := npm.ParseIntegrity(integrity)
	if err != nil {
		return nil
	}
	var out []digest
	for _, names := range []digest{
		{"SHA-512", "SHA512", "sha512", ""}, {"SHA-384", "SHA384", "sha384", ""},
		{"SHA-256", "SHA256", "sha256", ""}, {"SHA-1", "SHA1", "sha1", ""},
	} {
		if found := in.Find(names.intoto); len(found) == 1 { // several of one kind name several tarballs
			names.hex = hex.EncodeToString(found[0].Digest)
			out = append(out, names)
		}
	}
	return out
}

// uuid makes a UUID of a document's own bytes, version 5 under the URL namespace (RFC 9562, section 5.5): the
// same document has the same one on every machine.
func uuid(document []byte) string {
	h := sha1.New()
	h.Write([]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8})
	h.Write(document)
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// A bill is the graph of a report as both kinds of SBOM have it: what there is, each once, and who asks for
// what.
type bill struct {
	name, version string // of the project; "" where there is none, or several
	parts         []part // roots first, then packages, then others, in the report's order
	roots         int    // how many of parts are projects
	edges         []relation
}

// A part is a project, a package or another dependency.
type part struct {
	project *Project
	pkg     *Package
	other   *Other
}

// A relation says that one part asks for another.
type relation struct {
	from, to int    // in bill.parts
	kind     string // as [Edge.Kind]
}

// newBill collects the graph. Places of one package are one part; what several projects use is there once.
func newBill(r *Report) *bill {
	b := &bill{roots: len(r.Projects)}
	for i := range r.Projects {
		b.parts = append(b.parts, part{project: &r.Projects[i]})
	}
	packages := len(b.parts)
	for i := range r.Packages {
		b.parts = append(b.parts, part{pkg: &r.Packages[i]})
	}
	others := len(b.parts)
	for i := range r.Others {
		b.parts = append(b.parts, part{other: &r.Others[i]})
	}
	if len(r.Projects) == 1 {
		b.name, b.version = r.Projects[0].Name, r.Projects[0].Version
	}
	for i := range r.Projects {
		nodes := r.Projects[i].Nodes
		at := func(n int) int {
			switch {
			case n < 0 || n >= len(nodes):
				return -1
			case nodes[n].Package >= 0 && nodes[n].Package < len(r.Packages):
				return packages + nodes[n].Package
			case nodes[n].Other >= 0 && nodes[n].Other < len(r.Others):
				return others + nodes[n].Other
			case n == 0:
				return i
			}
			return -1
		}
		for n := range nodes {
			from := at(n)
			for _, e := range nodes[n].Edges {
				if to := at(e.To); from >= 0 && to >= 0 && from != to {
					b.edges = append(b.edges, relation{from, to, e.Kind})
				}
			}
		}
	}
	slices.SortFunc(b.edges, func(x, y relation) int {
		return cmp.Or(cmp.Compare(x.from, y.from), cmp.Compare(x.to, y.to), strings.Compare(x.kind, y.kind))
	})
	b.edges = slices.Compact(b.edges)
	return b
}

// unique makes each name of a list another one, by a number after a separator.
func unique(names []string, separator string) {
	seen := make(map[string]int, len(names))
	for _, n := range names {
		seen[n] = 0
	}
	used := make(map[string]bool, len(names))
	for i, n := range names {
		for used[names[i]] {
			seen[n]++
			names[i] = n + separator + strconv.Itoa(seen[n]+1)
			if _, taken := seen[names[i]]; taken {
				names[i] = n // that is another's own name
			}
		}
		used[names[i]] = true
	}
}

// incoming returns the one project of a report whose document is of a kind, nil if there is none. Of several
// projects no single document can go out.
func (r *Report) incoming(kind string) (*Project, error) {
	for i := range r.Projects {
		p := &r.Projects[i]
		if p.Kind != kind || p.Document == nil {
			continue
		}
		if len(r.Projects) > 1 {
			return nil, fmt.Errorf("%s goes out as it came in with provenance added, and of %d projects no one document can be made: audit it alone", cmp.Or(p.File, "an SBOM"), len(r.Projects))
		}
		return p, nil
	}
	return nil, nil
}

// A told is what a report says of one component of a document that came in.
type told struct {
	pkg   *Package
	other *Other
}

func (s told) properties() []property {
	switch {
	case s.pkg != nil:
		return s.pkg.properties()
	case s.other != nil:
		return s.other.properties()
	}
	return nil
}

func (s told) references() []reference {
	if s.pkg == nil {
		return nil
	}
	return s.pkg.references()
}

// subjects tells by identifier what the report says of the components of a project, and which components of the
// document have it. One identifier may stand for several.
type subjects struct {
	named    map[string]*called
	packages map[reading]*said
}

// A called is what one identifier stands for.
type called struct {
	packages []npm.ID // as the report has them
	others   []told   // distinct
	first    []byte   // how the first component of the document that has the identifier is written
	shared   bool     // others that have it are written otherwise
}

// A reading is a package that an identifier stands for.
type reading struct {
	id  string
	pkg npm.ID
}

// A said is what is said of a reading.
type said struct {
	told    []told // distinct
	claimed []byte // how the first component of the document that claims to be it is written
	twice   bool   // others that claim it are written otherwise
}

// maxDistinct bounds how many things that are said of one component are told apart; more than one is too many already
// but where an SPDX package has several package URLs.
const maxDistinct = 16

func (r *Report) subjects(p *Project) subjects {
	out := subjects{make(map[string]*called, len(p.Nodes)), make(map[reading]*said, len(p.Nodes))}
	add := func(list []told, s told) []told {
		if len(list) == maxDistinct || slices.ContainsFunc(list, func(t told) bool { return t == s || slices.Equal(t.properties(), s.properties()) }) {
			return list
		}
		return append(list, s)
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		var s told
		switch {
		case n.Package >= 0 && n.Package < len(r.Packages):
			s.pkg = &r.Packages[n.Package]
		case n.Other >= 0 && n.Other < len(r.Others):
			s.other = &r.Others[n.Other]
		default:
			continue
		}
		c := out.named[n.Path]
		if c == nil {
			c = new(called)
			out.named[n.Path] = c
		}
		if s.pkg == nil {
			c.others = add(c.others, s)
			continue
		}
		key := reading{n.Path, npm.ID{Name: s.pkg.Name, Version: s.pkg.Version}}
		of := out.packages[key]
		if of == nil {
			of = new(said)
			out.packages[key] = of
			c.packages = append(c.packages, key.pkg)
		}
		of.told = add(of.told, s)
	}
	return out
}

// claim notes a component of the document: its identifier, how it is written, its package URLs. Each has to be noted before
// the first is asked for.
func (s subjects) claim(id string, raw []byte, purls ...string) {
	c := s.named[id]
	if c == nil {
		return
	}
	if c.first == nil {
		c.first = raw
	} else if !bytes.Equal(c.first, raw) {
		c.shared = true
	}
	for _, purl := range purls {
		parts, err := npm.ParsePURLParts(purl)
		if err != nil {
			continue
		}
		switch of := s.packages[reading{id, parts.ID}]; {
		case of == nil:
		case of.claimed == nil:
			of.claimed = raw
		case !bytes.Equal(of.claimed, raw):
			of.twice = true
		}
	}
}

// of returns what is said of a component that has an identifier and package URLs, nothing where they are those of
// another package: a document in which one identifier stands for two components must not lend one of them the
// other's provenance. Of two things that say the same it returns one. It is not clear which of them is meant where two
// components have the same identifier and package, and are yet two, as by their hashes.
func (s subjects) of(id string, purls ...string) (found []told, clear bool) {
	c := s.named[id]
	if c == nil {
		return nil, true
	}
	var ids []npm.ID
	if len(purls) == 0 && !c.shared {
		ids = c.packages
	}
	seen := map[npm.ID]bool{}
	add := func(pkg npm.ID) {
		if !seen[pkg] {
			seen[pkg] = true
			ids = append(ids, pkg)
		}
	}
	for _, purl := range purls {
		parts, err := npm.ParsePURLParts(purl)
		switch {
		case err != nil:
		case parts.ID.Version != "":
			add(parts.ID)
		case !c.shared: // it may be any version's
			for _, pkg := range c.packages {
				if pkg.Name == parts.ID.Name {
					add(pkg)
				}
			}
		}
	}
	clear = true
	for _, pkg := range ids {
		if of := s.packages[reading{id, pkg}]; of != nil {
			found = append(found, of.told...)
			clear = clear && !of.twice
		}
	}
	if found == nil {
		found = c.others
	}
	return found, clear
}

// key is what stands for a component that has no identifier: its package URL, else its name and version.
func key(id, purl, group, name, version string) string {
	if group != "" {
		name = group + "/" + name
	}
	return cmp.Or(id, purl, name+"@"+version)
}
