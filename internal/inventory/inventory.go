// Package inventory says what a project uses: every package of its lockfile or node_modules, where it
// lies, what asked for it, and what the file claims about its bytes.
//
// Two promises hold for everything it reads. Nothing is dropped: what is no registry package is an
// [Other], and what could not be understood is an error or a [Warning] that names file and line. And
// what decides whether an entry is a registry package is what was asked for, not where the lockfile
// points: an entry that a manifest asks for by version, range or tag stays a registry package when
// somebody changed its `resolved` to another host, so that the change is found instead of hidden.
//
// Flags such as Dev are computed from the dependency graph and not taken from the lockfile, as npm
// itself does before it installs: an edited flag must not move a package out of an audit.
//
// An SBOM has no manifest to hold it to. All that has an npm package URL counts there as asked for by version, unless
// the document says that it comes from a repository or belongs to the project; the flags of what the project itself
// asks for are the document's, and those of the rest follow from its graph.
//
// All that is read is treated as hostile: sizes, depths and counts are bounded, duplicate names are
// refused, no path leaves the project's directory.
package inventory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Limits on what is read. Real lockfiles stay an order of magnitude below each.
const (
	maxFile        = 256 << 20 // bytes of one lockfile
	maxManifest    = 8 << 20   // bytes of one package.json
	maxKey         = 4096      // bytes of one location in the tree
	maxSegments    = 300       // path segments of one location
	maxNesting     = 100       // node_modules inside node_modules
	maxEdges       = 20_000    // dependencies of one manifest
	maxEntries     = 400_000   // entries of one lockfile; real ones have 150 bytes for each and more, so that 50 MB fit
	maxAllEdges    = 2_000_000 // dependencies of all entries of one lockfile
	maxListed      = 100_000   // entries of one SBOM or list; real ones of SBOMs have 800 bytes and more
	maxListedEdges = 1_000_000 // dependencies of all entries of one SBOM
	maxDirectories = 100_000   // directories outside node_modules that one lockfile lists
	maxWalk        = 2_000_000 // directory entries looked at in one node_modules
	maxPath        = 100       // names that Project.Path gives
	maxSameWarn    = 200       // warnings with one code; the rest is counted
)

// A Project is what one lockfile, or one node_modules, says that a project uses.
// It is not changed after Open and safe for concurrent readers.
type Project struct {
	Dir     string // directory that Location.File and Location.Path are relative to, as given to Open; "" from OpenFS
	Name    string // of the root package.json or the lockfile; "" if neither says
	Version string // likewise
	Kind    string // format that was read: "package-lock", "npm-shrinkwrap", "node_modules", "yarn", "pnpm", "bun", "cyclonedx", "spdx" or "purls"
	// FormatVersion is the version that the file gives for its format: 1, 2 or 3 for npm's, 1 for that of yarn 1, 4 and more
	// for those of later yarns; 0 where it gives none.
	FormatVersion int
	// Document are the exact bytes of an SBOM, nil for anything else. Path of its nodes and their Locations is the bom-ref
	// or SPDXID; where an entry has none, its package URL, else its name and version.
	Document []byte
	Files    []string // files that were read, relative to Dir, lockfile first; those of packages on disk are left out

	Packages []Package // registry packages, sorted by name, version, integrity and resolved
	Others   []Other   // everything else, sorted by name, version and source
	Nodes    []Node    // the tree: Nodes[0] is the root project, the rest is sorted by path
	Warnings []Warning // oddities, sorted by file and line

	depth []int32 // per node: edges on its shortest path, -1 for what is extraneous
	start []int32 // per node: where its shortest path begins

	listed []listed     // what the file lists, sorted by path
	looked func() *disk // what lies on disk; nil where the file says it, or nothing is to be looked at
}

// A Package is one registry package: whatever was asked for by version, range, tag or alias, wherever
// its `resolved` points. Places that agree on name, version, integrity and resolved are one Package.
type Package struct {
	Name      string // real name, aliases resolved; passes npm.CheckName
	Version   string // passes npm.CheckVersion
	Alias     string // name it is installed under where that differs; the first such name of its Locations
	Integrity string // SRI as the lockfile holds it, unchecked; "" if it has none
	Resolved  string // URL as the lockfile holds it, unchecked and hostile; "" if it has none
	Checksum  string // yarn's own digest of the zip archive it makes of the tarball: "10c0/4fbe…"; "" in other formats

	// Patches are what the project changes in its files once they are unpacked, in that order: patch files of the
	// project, by path ("patches/ms.patch"), or what yarn comes with ("builtin<compat/resolve>"). Nil for none.
	Patches []string

	Locations []Location // where it lies, sorted by path; never empty
	Nodes     []int      // indices in Project.Nodes, parallel to Locations

	Direct      bool // the root project or a workspace asks for it
	Dev         bool // reachable only through devDependencies
	Optional    bool // reachable only through optional dependencies
	DevOptional bool // reachable through devDependencies and through optional ones, but not without either
	Peer        bool // reachable only through peerDependencies
	Extraneous  bool // nothing that the project asks for leads to it
	// Unasked says that the file puts this package under a name that others ask for as another
	// package: a lockfile that was edited to install something else. A Warning says where.
	Unasked bool
	// Oddity says what no package manager writes by itself about one of its places, the message of a
	// suspicious Warning: somebody may have edited the file. "" for nothing.
	Oddity           string
	HasInstallScript bool // the lockfile or package.json says so; lockfileVersion 1 never does
}

// Sources of an [Other].
const (
	SourceWorkspace = "workspace" // part of the project itself
	SourceGit       = "git"       // asked for by repository
	SourceURL       = "url"       // asked for by tarball address
	SourceFile      = "file"      // a tarball or copied directory of this machine
	SourceLink      = "link"      // a symlink to a directory that is no workspace
	SourceBundled   = "bundled"   // inside the tarball of the package above it
	SourceForeign   = "foreign"   // of another ecosystem, or no package at all, as SBOMs list them
	SourceUnknown   = "unknown"   // present, but it cannot be told what it is; a Warning says why
)

// An Other is an entry that does not come from a registry.
type Other struct {
	Name     string // printable; a name that npm would not accept is in Go's quoted form
	Version  string // as the file holds it, "" if it has none; hostile text
	Source   string // one of the Source constants
	Spec     string // what asked for it, such as "github:npm/cli"; "" if nothing did
	Resolved string // as the file holds it; hostile text
	Bundler  string // for SourceBundled: name@version of the package whose tarball holds it

	// Oddity is as in Package. An Other whose only sign is a suspicious Warning about a place that no
	// entry stands for, or about the file as a whole, has SourceUnknown and no Nodes.
	Oddity string
	// Missing says that a manifest asks for it and the lockfile does not have it, so that nothing is
	// known of it. Source is SourceUnknown, Version is "", there are no Nodes, and Locations are where
	// it would lie, at most 100, with the lines of what asks for it.
	Missing bool

	Locations []Location // where it lies; for a link its own place first, then its target
	Nodes     []int      // indices in Project.Nodes

	Direct, Dev, Optional, DevOptional, Peer, Extraneous bool // as in Package
}

// A Location is one place in the tree and the line that says so.
type Location struct {
	Path string // relative to the project, slashes: "node_modules/a/node_modules/b"; the entry's own key where a format names no places: "b@^1.0.0"; the place in a flat node_modules for bun.lock; see Document for SBOMs
	File string // relative to the project: "package-lock.json"
	Line int    // 1-based line of the entry's key in File; 0 where File has no lines to point at
}

// An EdgeKind is the part of a manifest that asks for something.
type EdgeKind uint8

// Kinds of edges, named for the field of package.json they come from.
const (
	Prod         EdgeKind = iota // dependencies
	Dev                          // devDependencies
	Optional                     // optionalDependencies
	Peer                         // peerDependencies
	PeerOptional                 // peerDependencies marked optional in peerDependenciesMeta
	Workspace                    // the root's edge to one of its workspaces
)

// String returns npm's word for the kind: "prod", "dev", "optional", "peer", "peerOptional" or "workspace".
func (k EdgeKind) String() string {
	if int(k) < len(edgeKinds) {
		return edgeKinds[k]
	}
	return "unknown"
}

var edgeKinds = [...]string{"prod", "dev", "optional", "peer", "peerOptional", "workspace"}

// Values of Edge.To that are no index.
const (
	Missing = -1 // nothing satisfies the edge: an optional package left out, or a broken lockfile
	Omitted = -2 // what satisfies it was left out by Options
)

// An Edge is one dependency: a name and what is asked of it. Where it leads is found as Node.js finds
// it, in the nearest node_modules up the tree.
type Edge struct {
	Name string // name it is installed under
	Spec string // as the manifest has it, hostile; "" also where only the lockfile's shape tells of the edge
	Kind EdgeKind
	To   int // index in Project.Nodes, Missing or Omitted
}

// A Node is one place of the tree. A symlink and its target are one Node, the target's.
type Node struct {
	Name    string // name it is installed under; for the root and workspaces the package's name, "." if the root has none
	Path    string // as in Location; "" for the root
	Package int    // index in Project.Packages, or -1
	Other   int    // index in Project.Others, or -1; both are -1 for the root
	Via     int    // the node before it on a shortest path from the root or a workspace; -1 at the start of a path and for what is extraneous
	Edges   []Edge // sorted by name
}

// A Warning is something odd that did not stop the reading.
type Warning struct {
	Code    string // stable, kebab-case, such as "alias-unasked"
	Message string // one sentence; hostile text in it is quoted
	File    string // relative to the project, "" if it concerns none
	Line    int    // 1-based, 0 if none
	Path    string // place in the tree that it concerns, "" if none
	// Suspicious says that no package manager writes such a thing by itself: somebody may have
	// edited the file. Some Package or Other has the message as its Oddity, unless Options leave out what it concerns.
	Suspicious bool
	// Doubtful says that the project may well be installed from something else than what was read.
	Doubtful bool
}

// Options narrow what Open returns. The zero value asks for everything.
type Options struct {
	// Omit names dependency types to leave out, as npm's --omit: "dev", "optional", "peer".
	// Something that is reachable in another way stays, from anywhere in the project: together with
	// Workspaces too, since that is what npm installs.
	Omit []string
	// Workspaces restricts the result to what these workspaces use; each is the name of one, its
	// directory, or a directory above several, as npm's --workspace.
	Workspaces []string
	// IncludeWorkspaceRoot adds what the root project itself asks for, where Workspaces is set.
	IncludeWorkspaceRoot bool
	// LegacyPeerDeps says that npm is configured not to install peer dependencies by itself, so that a
	// lockfile may be without them (npm's setting legacy-peer-deps).
	LegacyPeerDeps bool
}

// A FormatError says that a file is malformed, contradicts itself or goes beyond a limit.
type FormatError struct {
	File string // as given to Open, or relative to the project
	Line int    // 1-based; 0 if no line is to blame
	Msg  string // hostile text in it is quoted
}

func (e *FormatError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	}
	return fmt.Sprintf("%s: %s", e.File, e.Msg)
}

// An UnsupportedError names a file in a format that is known but not read yet.
type UnsupportedError struct {
	File   string // relative to the project, or as given to Open
	Format string // "yarn", "pnpm", "bun", …
	Hint   string // how to turn it into a file that is read, "" if nothing is known to
}

func (e *UnsupportedError) Error() string {
	s := fmt.Sprintf("not supported yet: %s (%s)", e.File, e.Format)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// A NotFoundError says that a directory holds nothing that names its packages.
type NotFoundError struct {
	Path   string // the directory
	Looked []string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s has no lockfile and no node_modules (looked for %s)", e.Path, strings.Join(e.Looked, ", "))
}

// A WorkspaceError says that Options.Workspaces names no workspace of the project.
type WorkspaceError struct{ Name string }

func (e *WorkspaceError) Error() string {
	return fmt.Sprintf("no workspace %q in this project", e.Name)
}

// Open reads the project at name: a project's directory, a lockfile, or a node_modules directory.
//
// In a directory npm-shrinkwrap.json wins over package-lock.json, as in npm; where there is neither,
// node_modules is read: its hidden lockfile and what really lies on disk. The package.json beside the
// lockfile, where there is one, says what the root and the workspaces ask for. Of several package managers'
// lockfiles the one counts that package.json demands, else npm's. An SBOM is read only where it is named.
//
// Errors: *FormatError, *UnsupportedError, *NotFoundError, *WorkspaceError, or what the file system said.
func Open(name string, opts Options) (*Project, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("opening project: %w", err)
	}
	dir, base := name, "."
	if !fi.IsDir() && filepath.ToSlash(filepath.Base(filepath.Dir(absolute(name)))+"/"+filepath.Base(name)) == hiddenLockfile {
		name = filepath.Dir(absolute(name))
		if fi, err = os.Stat(name); err != nil {
			return nil, fmt.Errorf("opening project: %w", err)
		}
	}
	switch {
	case !fi.IsDir():
		dir, base = filepath.Dir(name), filepath.Base(name)
	case filepath.Base(absolute(name)) == nodeModules:
		// A symlinked node_modules is read where it really lies: the root below keeps every path inside one directory.
		if real, err := filepath.EvalSymlinks(name); err == nil && filepath.Base(real) == nodeModules {
			name = real
		}
		dir, base = filepath.Dir(absolute(name)), nodeModules
	}
	// os.Root refuses every path and symlink that leads out of the project.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening project: %w", err)
	}
	defer root.Close()
	p, err := OpenFS(root.FS(), base, opts)
	if err != nil {
		return nil, locate(err, dir)
	}
	p.Dir = dir
	p.lookLater(func() (*Project, error) {
		if len(opts.Omit) == 0 && len(opts.Workspaces) == 0 {
			return p, nil
		}
		return Open(name, Options{LegacyPeerDeps: opts.LegacyPeerDeps})
	})
	return p, nil
}

func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// locate writes the project's directory before the relative file names of an error.
func locate(err error, dir string) error {
	if fe, ok := errors.AsType[*FormatError](err); ok {
		return &FormatError{filepath.Join(dir, fe.File), fe.Line, fe.Msg}
	}
	if ue, ok := errors.AsType[*UnsupportedError](err); ok {
		return &UnsupportedError{filepath.Join(dir, ue.File), ue.Format, ue.Hint}
	}
	if nf, ok := errors.AsType[*NotFoundError](err); ok {
		return &NotFoundError{dir, nf.Looked}
	}
	return err
}

// OpenFS is Open inside a file system, such as the files of one git revision: name is "." for the
// project's directory, "node_modules", or a lockfile in the top directory. Symlinks are understood if
// fsys implements fs.ReadLinkFS.
func OpenFS(fsys fs.FS, name string, opts Options) (*Project, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	s := &source{fsys: fsys}
	f, file, err := s.find(name)
	if err != nil {
		return nil, err
	}
	t, err := f.read(s, file)
	if err != nil {
		return nil, err
	}
	t.kind = f.kind
	t.warnings = append(s.warnings, t.warnings...)
	s.judgeSettings(f, t)
	p, err := t.project(opts)
	if err != nil {
		return nil, err
	}
	p.Files = s.files
	return p, nil
}

func (o *Options) check() error {
	for _, omit := range o.Omit {
		switch omit {
		case "dev", "optional", "peer":
		default:
			return fmt.Errorf("omit %q: not one of dev, optional, peer", omit)
		}
	}
	return nil
}

// A source is the file system that a project is read from, and what was seen on the way.
type source struct {
	fsys     fs.FS
	files    []string
	warnings []Warning
}

// find chooses the format and the file to read. file is "" for a node_modules without a lockfile.
func (s *source) find(name string) (*format, string, error) {
	if name != "." && name != nodeModules {
		return s.findFile(name)
	}
	var found []*format
	var files []string
	for i := range formats {
		f := &formats[i]
		if name == nodeModules && f.kind != kindNodeModules {
			continue
		}
		for _, file := range f.files {
			if _, err := fs.Stat(s.fsys, file); err == nil {
				found, files = append(found, f), append(files, file)
				break
			} else if f.kind == kindNodeModules && len(found) == 0 && !errors.Is(err, fs.ErrNotExist) {
				return nil, "", fmt.Errorf("looking for %s: %w; if it is a symlink out of the project, name its target", file, err)
			} else if f.kind != kindNodeModules && !errors.Is(err, fs.ErrNotExist) {
				return nil, "", fmt.Errorf("looking for %s: %w", file, err)
			}
		}
	}
	if len(found) == 0 {
		var looked []string
		for i := range formats {
			looked = append(looked, formats[i].files...)
		}
		return nil, "", &NotFoundError{name, looked}
	}
	var demanded string
	if found[0].kind != kindNodeModules {
		demanded = s.demandedManager()
		// Of several lockfiles the one counts whose package manager package.json demands.
		first := slices.IndexFunc(found, func(f *format) bool { return f.manager() == demanded })
		if first > 0 && demanded != "" {
			f, file := found[first], files[first]
			found = slices.Insert(slices.Delete(found, first, first+1), 0, f)
			files = slices.Insert(slices.Delete(files, first, first+1), 0, file)
		}
	}
	for i, file := range files[1:] {
		if found[i+1].kind == kindNodeModules {
			continue
		}
		s.warnings = append(s.warnings, Warning{
			Code: "lockfile-ignored", File: file,
			Message:  fmt.Sprintf("%s is not read: %s counts", file, files[0]),
			Doubtful: found[i+1].manager() != found[0].manager() && demanded != found[0].manager(),
		})
	}
	if m := found[0].manager(); m != "" && found[0].read != nil && demanded != m && demanded != "" {
		s.warnings = append(s.warnings, Warning{
			Code: "other-manager", File: files[0], Doubtful: true,
			Message: fmt.Sprintf("package.json demands the package manager %s, which does not install what %s lists", quoteShort(demanded), files[0]),
		})
	}
	if found[0].read == nil {
		return nil, "", &UnsupportedError{File: files[0], Format: found[0].kind}
	}
	return found[0], files[0], nil
}

// demandedManager is the package manager that package.json demands, "" for none. A lockfile of another that lies
// beside the one in use would make an audit of what nobody installs.
func (s *source) demandedManager() string {
	m, err := s.manifest("")
	if err != nil || m == nil {
		return "" // where package.json is broken, reading it later says so
	}
	return m.manager
}

// findFile tells a format by a file's name, else by what it begins with.
func (s *source) findFile(name string) (*format, string, error) {
	for i := range formats {
		for _, file := range formats[i].files {
			if name == file || path.Base(file) == name {
				if formats[i].read == nil {
					return nil, "", &UnsupportedError{File: name, Format: formats[i].kind}
				}
				return &formats[i], name, nil
			}
		}
	}
	head, err := s.head(name)
	if err != nil {
		return nil, "", err
	}
	for i := range formats {
		if f := &formats[i]; f.sniff != nil && f.sniff(head) {
			if f.read == nil {
				return nil, "", &UnsupportedError{File: name, Format: f.kind}
			}
			return f, name, nil
		}
	}
	return nil, "", &FormatError{File: name, Msg: "not a lockfile or SBOM that Assay knows"}
}

// head returns the first kilobytes of a file, enough to tell its format.
func (s *source) head(name string) ([]byte, error) {
	if fi, err := fs.Stat(s.fsys, name); err == nil && !fi.Mode().IsRegular() {
		return nil, &FormatError{File: name, Msg: "not a regular file"}
	}
	f, err := s.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 8<<10))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return head, nil
}

// readFile reads a whole file of at most max bytes.
func (s *source) readFile(name string, max int64) ([]byte, error) {
	// Opening a named pipe may last forever.
	if fi, err := fs.Stat(s.fsys, name); err == nil && !fi.Mode().IsRegular() {
		return nil, &FormatError{File: name, Msg: "not a regular file"}
	}
	f, err := s.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, &FormatError{File: name, Msg: "not a regular file"}
	}
	if fi.Size() > max {
		return nil, &FormatError{File: name, Msg: fmt.Sprintf("larger than %d bytes", max)}
	}
	// The size is only a hint: the file may grow while it is read.
	data := make([]byte, 0, fi.Size()+512)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		if int64(len(data)) > max {
			return nil, &FormatError{File: name, Msg: fmt.Sprintf("larger than %d bytes", max)}
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// Path says why package i is there: the names on a shortest path from the root project or a workspace
// to it, both ends included, such as ["app", "sigstore"]. It is nil for what is extraneous. A path
// longer than 100 names has "…" in place of what follows the first.
func (p *Project) Path(i int) []string { return p.nodePath(p.Packages[i].Nodes) }

// OtherPath is Path for p.Others[i].
func (p *Project) OtherPath(i int) []string { return p.nodePath(p.Others[i].Nodes) }

// nodePath returns the names on the path to the nearest of several nodes.
func (p *Project) nodePath(nodes []int) []string {
	best := -1
	for _, n := range nodes {
		if p.depth[n] >= 0 && (best < 0 || p.depth[n] < p.depth[best]) {
			best = n
		}
	}
	if best < 0 {
		return nil
	}
	depth := int(p.depth[best])
	names := make([]string, min(depth+1, maxPath))
	n := best
	for i := len(names) - 1; i >= 0; i-- {
		names[i] = p.Nodes[n].Name
		n = p.Nodes[n].Via
	}
	if depth+1 > maxPath {
		names[0], names[1] = p.Nodes[p.start[best]].Name, "…"
	}
	return names
}

// Paths returns why package i is there in all ways: paths of indices in Nodes from the root project or
// a workspace to a place of it, shortest first and without loops, at most max of them. Of packages that
// much else needs there may be millions; the search stops early then.
func (p *Project) Paths(i, max int) [][]int {
	from := make([][]int, len(p.Nodes)) // nodes with an edge to each
	for j := range p.Nodes {
		for _, e := range p.Nodes[j].Edges {
			if e.To >= 0 && e.Kind != Workspace && p.depth[j] >= 0 {
				from[e.To] = append(from[e.To], j)
			}
		}
	}
	// Backwards from the package. A step holds a node and the step that it leads to.
	type step struct{ node, to, length int }
	var steps []step
	for _, n := range p.Packages[i].Nodes {
		steps = append(steps, step{n, -1, 1})
	}
	const maxSteps = 200_000
	var paths [][]int
	for k := 0; k < len(steps) && len(paths) < max; k++ {
		s := steps[k]
		if p.depth[s.node] == 0 {
			path := make([]int, 0, s.length)
			for j := k; j >= 0; j = steps[j].to {
				path = append(path, steps[j].node)
			}
			paths = append(paths, path)
			continue
		}
		if s.length > maxPath {
			continue
		}
	next:
		for _, f := range from[s.node] {
			for j := k; j >= 0; j = steps[j].to {
				if steps[j].node == f {
					continue next
				}
			}
			if len(steps) < maxSteps {
				steps = append(steps, step{f, k, s.length + 1})
			}
		}
	}
	return paths
}
