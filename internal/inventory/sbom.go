package inventory

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"assay/internal/npm"
)

// An sbomEntry is what an SBOM says of one component (CycloneDX) or package (SPDX), or a list of one package URL.
type sbomEntry struct {
	ref           string     // bom-ref or SPDXID, "" if it has none
	name, version string     // as the document holds them; the name with its group
	purl          string     // "" if it has none
	address       string     // where it was fetched, "" if that is not told
	hashes        []sbomHash // of the file at address
	ownHashes     []sbomHash // of the component itself, where the format tells them apart
	parent        int32      // number of the entry that it is nested in, -1 for none
	line          int
	flags         flags  // isDev, isOptional, isExtraneous, isBundled
	sri           string // integrity as npm writes it, "" if none is told
	otherHashes   bool   // ownHashes are of something else than the tarball
	workspace     bool   // assay marked it as a workspace, in a document of its own; counts only for what has no package URL
	local         string // what it is marked as, where it is part of the project: SourceWorkspace or SourceLink
}

// maxHashes bounds the digests of one component; there are a dozen algorithms.
const maxHashes = 100

// A sbomHash is a digest: its algorithm as the document spells it, and hex.
type sbomHash struct{ algorithm, value string }

// An sbom makes a tree of the entries of a document. All that has an npm package URL counts as asked for by
// version, unless that says that it comes from a repository; where it was fetched is then what it was resolved to.
type sbom struct {
	t     *tree
	size  int // of the document in bytes
	cost  int // bytes of memory that what was read will need, about
	edges int

	nodes    []node // without the root, by number
	verdicts []verdict
	parents  []int32
	refs     []int32 // number of the reference that names a node, -1 for none

	ids       map[string]int32 // numbers of references
	links     []sbomLink
	root      int32 // number of the reference to the document's subject, -1 if there is none
	subjectAt int32 // number of the entry that is the subject, -1 if none is
}

// An sbomLink is a dependency between what two references name.
type sbomLink struct {
	from, to int32
	kind     EdgeKind
}

func newSBOM(file string, data []byte) *sbom {
	return &sbom{
		t:    &tree{file: file, linked: true, document: data, nodes: []node{{line: 1, link: notLink}}},
		size: len(data), ids: make(map[string]int32), root: -1, subjectAt: -1,
	}
}

// id is the number of a reference.
func (b *sbom) id(ref string) int32 {
	id, ok := b.ids[ref]
	if !ok {
		id = int32(len(b.ids))
		b.ids[strings.Clone(ref)] = id
	}
	return id
}

// spend accounts for memory, as lockReader does.
func (b *sbom) spend(line, bytes int) error {
	if b.cost += bytes; b.cost > 16*b.size+maxFloor {
		return &FormatError{b.t.file, line, "too many entries for the size of the file"}
	}
	return nil
}

// link notes that what one reference names depends on what another names.
func (b *sbom) link(from, to string, kind EdgeKind, line int) error {
	if from == "" || to == "" || from == to {
		return nil
	}
	if b.edges++; b.edges > maxListedEdges {
		return &FormatError{b.t.file, line, fmt.Sprintf("more than %d dependencies", maxListedEdges)}
	}
	if err := b.spend(line, edgeCost+16); err != nil {
		return err
	}
	b.links = append(b.links, sbomLink{b.id(from), b.id(to), kind})
	return nil
}

// subject makes an entry the document's subject, which is not one of its packages.
func (b *sbom) subject(e *sbomEntry) {
	root := &b.t.nodes[0]
	root.realName, root.version, root.line = e.name, e.version, int32(e.line)
	if e.ref != "" {
		b.root = b.id(e.ref)
	}
}

// describe names the document's subjects by their references. Where it is one entry, that is the project; of
// several each counts as something that the project asks for.
func (b *sbom) describe(refs []string) {
	slices.Sort(refs)
	refs = slices.Compact(refs)
	if len(refs) == 1 {
		id := b.id(refs[0])
		if i := slices.Index(b.refs, id); i >= 0 && !slices.Contains(b.refs[i+1:], id) {
			root := &b.t.nodes[0]
			root.realName, root.version, root.line = b.nodes[i].realName, b.nodes[i].version, b.nodes[i].line
			b.root, b.subjectAt = id, int32(i)
			return
		}
	}
	b.root = b.id("")
	for _, ref := range refs {
		b.links = append(b.links, sbomLink{b.root, b.id(ref), Prod})
	}
}

// reserve returns the number of the next entry, for what is nested in it.
func (b *sbom) reserve(line int) (int32, error) {
	if len(b.nodes) >= maxListed {
		return 0, &FormatError{b.t.file, line, fmt.Sprintf("more than %d entries", maxListed)}
	}
	if err := b.spend(line, entryCost+72); err != nil {
		return 0, err
	}
	b.nodes, b.verdicts = append(b.nodes, node{}), append(b.verdicts, verdict{})
	b.parents, b.refs = append(b.parents, -1), append(b.refs, -1)
	return int32(len(b.nodes) - 1), nil
}

// add takes over the entry that a number was reserved for.
func (b *sbom) add(i int32, e *sbomEntry) error {
	key := cmp.Or(e.ref, e.purl, e.name+"@"+e.version)
	if why := oddText(key); why != "" {
		return &FormatError{b.t.file, e.line, fmt.Sprintf("the entry %s %s", quoteShort(key), why)}
	}
	n := node{path: key, realName: e.name, version: e.version, nameAt: noPlace, line: int32(e.line), link: notLink, flags: isInstalled | e.flags}
	v := b.classify(&n, e)
	if v.other != "" || n.resolved != "" || n.integrity != "" {
		n.flags &^= isBundled
	}
	b.nodes[i], b.verdicts[i], b.parents[i] = n, v, e.parent
	if e.ref != "" {
		b.refs[i] = b.id(e.ref)
	}
	return nil
}

// classify tells what an entry is, and completes its node.
func (b *sbom) classify(n *node, e *sbomEntry) verdict {
	if !isNPM(e.purl) {
		if e.workspace && e.purl == "" && e.address == "" && len(e.hashes)+len(e.ownHashes) == 0 && e.sri == "" {
			return verdict{other: SourceWorkspace}
		}
		n.resolved = e.address
		return verdict{other: SourceForeign, spec: e.purl}
	}
	unknown := func(code, format string, args ...any) verdict {
		b.t.warn(n, code, false, format, args...)
		return verdict{other: SourceUnknown, spec: e.purl}
	}
	purl, err := npm.ParsePURLParts(e.purl)
	if err != nil {
		return unknown("purl-unreadable", "%v", err)
	}
	q := purl.Qualifiers
	n.realName, n.version = purl.ID.Name, cmp.Or(purl.ID.Version, e.version)
	if purl.ID.Version != "" && e.version != "" && e.version != purl.ID.Version {
		b.t.warn(n, "version-differs", false, "%s has the version %s, and the package URL %s: the URL counts", quoteShort(n.path), quoteShort(e.version), quoteShort(e.purl))
	}
	for _, from := range []string{q["vcs_url"], q["download_url"], commit(e.address)} {
		if kind := resolvedKind(from); from != "" && (kind == specGit || from == q["vcs_url"]) {
			n.resolved = from
			return verdict{other: SourceGit, spec: e.purl}
		}
	}
	if err := npm.CheckVersion(n.version); err != nil {
		return unknown("version-missing", "%s names no version that npm would install: %v", quoteShort(e.purl), err)
	}
	id := npm.ID{Name: n.realName, Version: n.version}
	address, hashes := e.address, e.hashes // whether the address is the registry's is not decided here
	address = cmp.Or(address, q["download_url"])
	if base := q["repository_url"]; base != "" && address == "" {
		if u, err := url.Parse(base); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			b.t.warn(n, "repository-unreadable", false, "the repository_url %s of %s is no registry's address, and is passed over", quoteShort(base), id)
		} else {
			address = strings.TrimRight(base, "/") + "/" + npm.TarballPath(id)
		}
	}
	switch resolvedKind(address) {
	case specURL:
		n.resolved = address
	case specFile:
		n.resolved = address
		return verdict{other: SourceFile, spec: e.purl}
	}
	if e.otherHashes {
		e.ownHashes = nil
	}
	if e.local != "" && address == "" && len(e.hashes)+len(e.ownHashes) == 0 && e.sri == "" {
		return verdict{other: e.local, spec: e.purl}
	}
	if sum := q["checksum"]; sum != "" && len(hashes)+len(e.ownHashes) == 0 {
		for part := range strings.SplitSeq(sum, ",") {
			algorithm, value, _ := strings.Cut(part, ":")
			hashes = append(hashes, sbomHash{algorithm, value})
		}
	}
	n.integrity = cmp.Or(b.integrity(n, hashes), e.sri)
	if own := b.integrity(n, e.ownHashes); n.integrity == "" {
		n.integrity = own
	} else if own != "" && contradict(own, n.integrity) {
		b.t.warn(n, "hashes-differ", false, "%s has one hash of its own and another one of the file it was fetched as: that of the file counts", id)
	}
	return verdict{}
}

// isNPM reports whether a package URL is of npm's type.
func isNPM(purl string) bool {
	scheme, rest, ok := strings.Cut(purl, ":")
	if !ok || !strings.EqualFold(scheme, "pkg") {
		return false
	}
	kind, _, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	return ok && strings.EqualFold(kind, "npm")
}

// commit returns the address of a repository if it names a commit, "" for anything else: some tools give a package's
// repository, as its package.json does, in the place of where it was fetched.
func commit(address string) string {
	if resolvedKind(address) != specGit {
		return ""
	}
	_, ref, ok := strings.Cut(address, "#")
	if !ok {
		ref = address[strings.LastIndexByte(address, '@')+1:]
	}
	if len(ref) < 7 || strings.Trim(ref, "0123456789abcdefABCDEF") != "" {
		return ""
	}
	return address
}

// tarballAddress reports whether an address is one that a package is fetched from, and no page about it.
func tarballAddress(address string, hashed bool) bool {
	switch resolvedKind(address) {
	case specURL:
		path, _, _ := strings.Cut(address, "?")
		path, _, _ = strings.Cut(path, "#")
		return hashed || isTarball(path) || strings.Contains(path, "/-/") || strings.Contains(path, "/tar.gz/")
	case specGit:
		return commit(address) != ""
	case specFile:
		return strings.HasPrefix(address, "file:")
	}
	return false
}

// digestSizes are the sizes in bytes of the digests that npm knows, strongest first.
var digestSizes = []struct {
	name string
	size int
}{{"sha512", 64}, {"sha384", 48}, {"sha256", 32}, {"sha1", 20}}

// integrity writes hashes as npm does, strongest first, and passes over algorithms that npm does not know.
func (b *sbom) integrity(n *node, hashes []sbomHash) string {
	var out []string
	for _, d := range digestSizes {
		for _, h := range hashes {
			if !strings.EqualFold(strings.ReplaceAll(h.algorithm, "-", ""), d.name) {
				continue
			}
			sum, err := hex.DecodeString(h.value)
			if err != nil || len(sum) != d.size {
				b.t.warn(n, "hash-unreadable", false, "%s has a %s that is none: %s", quoteShort(n.path), d.name, quoteShort(h.value))
				continue
			}
			if s := d.name + "-" + base64.StdEncoding.EncodeToString(sum); !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b string) int {
		x, _, _ := strings.Cut(a, "-")
		y, _, _ := strings.Cut(b, "-")
		if x != y {
			return 0
		}
		return strings.Compare(a, b)
	})
	return strings.Join(out, " ")
}

// contradict reports whether two integrity strings name different digests of one algorithm.
func contradict(a, b string) bool {
	x, errX := npm.ParseIntegrity(a)
	y, errY := npm.ParseIntegrity(b)
	if errX != nil || errY != nil {
		return false
	}
	algorithm, equal := x.Match(y)
	return algorithm != "" && !equal
}

// tree finishes the tree.
func (b *sbom) tree() (*tree, error) {
	t := b.t
	order := make([]int32, 0, len(b.nodes))
	for i := range b.nodes {
		if int32(i) != b.subjectAt {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(i, j int32) int {
		return cmp.Or(strings.Compare(b.nodes[i].path, b.nodes[j].path), cmp.Compare(b.nodes[i].line, b.nodes[j].line), cmp.Compare(i, j))
	})
	at := make([]int32, len(b.nodes))        // indices of entries in t.nodes
	named := make([]int32, len(b.ids))       // first node that a reference names, 0 for none
	next := make([]int32, 1, 1+len(b.nodes)) // the next one of the same reference
	t.nodes = slices.Grow(t.nodes, len(b.nodes))
	t.verdicts = append(make([]verdict, 0, 1+len(b.nodes)), verdict{skip: true})
	for _, i := range order {
		n, ref := &b.nodes[i], b.refs[i]
		if ref >= 0 && named[ref] > 0 {
			first := named[ref]
			if f := &t.nodes[first]; f.same(n) && t.verdicts[first] == b.verdicts[i] {
				t.warn(n, "reference-twice", false, "%s is listed twice, see also line %d", quoteShort(n.path), f.line)
				at[i] = first
				continue
			}
			t.warn(n, "reference-twice", false, "%s names two entries, see also line %d: what depends on one of them counts as depending on both", quoteShort(n.path), t.nodes[first].line)
		}
		at[i] = int32(len(t.nodes))
		t.nodes, t.verdicts, next = append(t.nodes, *n), append(t.verdicts, b.verdicts[i]), append(next, 0)
		if ref >= 0 {
			next[at[i]], named[ref] = named[ref], at[i]
		}
	}
	if err := b.connect(at, named, next); err != nil {
		return nil, err
	}
	b.bundle()
	return t, nil
}

// connect gives nodes their edges.
func (b *sbom) connect(at, named, next []int32) error {
	t := b.t
	asked := make([]bool, len(t.nodes))
	edges := 0
	add := func(from, to int32, kind EdgeKind) error {
		if from == to || to == 0 {
			return nil
		}
		if edges++; edges > maxListedEdges {
			return &FormatError{t.file, int(t.nodes[from].line), fmt.Sprintf("more than %d dependencies", maxListedEdges)}
		}
		f, n := &t.nodes[from], &t.nodes[to]
		switch {
		case from == 0 && n.has(isDev):
			kind = Dev // of other packages they are not installed
		case kind == Dev && from != 0:
			kind = Prod
		case kind == Prod && n.has(isOptional) && !f.has(isOptional):
			kind = Optional
		}
		f.edges = append(f.edges, Edge{Name: n.realName, Kind: kind, To: int(to)})
		asked[to] = true
		return nil
	}
	for _, l := range b.links {
		targets := named[l.to]
		if l.from == b.root {
			for to := targets; to > 0; to = next[to] {
				if err := add(0, to, l.kind); err != nil {
					return err
				}
			}
		}
		for from := named[l.from]; from > 0; from = next[from] {
			for to := targets; to > 0; to = next[to] {
				if err := add(from, to, l.kind); err != nil {
					return err
				}
			}
		}
	}
	// What lies in another component, and nothing asks for, is a part of that.
	for i, parent := range b.parents {
		if parent >= 0 && !asked[at[i]] {
			if err := add(at[parent], at[i], Prod); err != nil {
				return err
			}
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		slices.SortFunc(n.edges, func(a, b Edge) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
		})
		n.edges = slices.Clip(slices.CompactFunc(n.edges, func(a, b Edge) bool { return a.To == b.To }))
	}
	t.rootKnown = len(t.nodes[0].edges) > 0
	return nil
}

// bundle finds the packages in whose tarballs those lie that are marked as bundled. One that no package asks for
// counts as a registry's.
func (b *sbom) bundle() {
	t := b.t
	found := make([]bool, len(t.nodes))
	var todo []int32
	take := func(i, bundler int32) {
		for _, e := range t.nodes[i].edges {
			if to := int32(e.To); t.nodes[to].has(isBundled) && !found[to] {
				found[to] = true
				t.verdicts[to] = verdict{other: SourceBundled, bundler: bundler}
				todo = append(todo, to)
			}
		}
	}
	for i := range t.nodes {
		if t.verdicts[i].other != "" || t.verdicts[i].skip || t.nodes[i].has(isBundled) {
			continue
		}
		take(int32(i), int32(i))
		for len(todo) > 0 {
			k := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			take(k, int32(i))
		}
	}
}
