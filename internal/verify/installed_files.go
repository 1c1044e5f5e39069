package verify

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/evidence"
)

// checkInstalledFiles holds when the files on disk are those of the tarball, wherever the package is
// installed. A changed file and a missing one fail. So does one that the tarball does not have, because
// Node.js may load it in place of another; only in a package with install scripts, which are there to make
// files, is that told instead, and there too it fails where Node.js would look for it before a file of the
// tarball, or in a node_modules. What installers change by themselves is no difference:
//
//   - npm calls .gitignore .npmignore (pacote lib/fetcher.js) and takes the CR off the first line of a command
//     (bin-links lib/fix-bin.js);
//   - npm up to 6 writes notes of its own into package.json, into those of bundled packages too;
//   - an install script may put a file of one of the package's own optional dependencies in the place of a
//     command, as esbuild does, or move it there, as bun does: the bytes have to be those of that package's
//     verified tarball, which has a verdict of its own;
//   - where the project patches the package, a file may be what the patch makes of the tarball's: what it was before is
//     compared, as it follows from undoing the patch. Of the patches that yarn comes with, for three packages, only the
//     names of the files are known: where these differ, and no others, the question is skipped;
//   - yarn has a few files of its own there, see [installerFiles];
//   - where the file system ignores the case of letters, two files of the tarball become one.
//
// Packages in a node_modules inside it that the lockfile lists are looked at by themselves, save what the tarball
// has there. All else that lies there is this package's, and added.
func checkInstalledFiles(f *facts) outcome {
	places, t := f.in.Evidence.Installed, f.in.Evidence.Tarball
	if places == nil {
		return skip(reasonNotAsked)
	}
	places = slices.DeleteFunc(slices.Clone(places), func(p evidence.Place) bool { return p.Absent })
	switch {
	case len(places) == 0:
		return skip(reasonNotInstalled)
	case t == nil:
		return undecided(reasonFilesUnknown, "")
	case t.Reason != "":
		return undecided(t.Reason, t.Detail)
	case t.Files == nil:
		return undecided(reasonFilesUnknown, t.Problem)
	}
	c := filesOf(t)
	c.relate(f.in.Evidence)
	result := pass()
	for i := range places {
		result = worst(result, c.compare(&places[i]))
	}
	return result
}

// tarballFiles are a tarball's files, ready to be compared with several places.
type tarballFiles struct {
	tarball *evidence.Tarball
	folded  map[string][]string // paths in lower case → paths, where there are several
	scripts bool                // the package runs something on install

	commands map[string]bool              // paths that package.json names as commands
	lent     map[[sha256.Size]byte]string // files that may be in a command's place
	taken    map[[sha256.Size]byte]string // commands that a file of this package may have become
	loads    map[string]bool              // see shadows
}

// relate takes in what the package's relatives have.
func (c *tarballFiles) relate(e *evidence.Evidence) {
	byContent := func(to map[[sha256.Size]byte]string, relatives []evidence.Relative) {
		for _, r := range relatives {
			for _, name := range slices.Backward(slices.Sorted(maps.Keys(r.Files))) { // of several the first is named
				to[r.Files[name].SHA256] = r.Name + "/" + name
			}
		}
		delete(to, [sha256.Size]byte{}) // not known
	}
	byContent(c.lent, e.Lenders)
	byContent(c.taken, e.Takers)
}

func filesOf(t *evidence.Tarball) *tarballFiles {
	c := &tarballFiles{
		tarball: t, folded: map[string][]string{}, commands: map[string]bool{},
		lent: map[[sha256.Size]byte]string{}, taken: map[[sha256.Size]byte]string{}, loads: map[string]bool{},
	}
	for _, name := range t.Commands() {
		c.commands[name] = true
	}
	for name := range t.Files {
		key := strings.ToLower(name)
		c.folded[key] = append(c.folded[key], name)
		c.loadedBefore(name)
	}
	maps.DeleteFunc(c.folded, func(_ string, names []string) bool { return len(names) < 2 })
	m, _, err := readManifest(t.Manifest, lastOfName)
	if err != nil {
		return c
	}
	for _, name := range runsOnInstall {
		c.scripts = c.scripts || m.scripts[name] != ""
	}
	// npm builds a package with this file though no script says so.
	_, gyp := t.Files["binding.gyp"]
	c.scripts = c.scripts || gyp && m.scripts["preinstall"] == "" && m.scripts["install"] == ""
	return c
}

func (c *tarballFiles) compare(p *evidence.Place) outcome {
	if p.Reason != "" {
		return undecided(reasonDiskUnreadable, p.Path).with(p.Detail)
	}
	var changed, missing, added, told, patched, unknown []string
	accounted := make(map[string]bool, len(p.Files))
	var expected, actual string
	for _, name := range slices.Sorted(maps.Keys(c.tarball.Files)) {
		want := c.tarball.Files[name]
		at, got, ok := c.find(p, name)
		if !ok {
			switch was, ok := p.Originals[name]; {
			case c.ignoreFile(name):
			case ok && sameFile(want, was):
				patched = append(patched, name)
			case want.Size > 0 && c.taken[want.SHA256] != "":
				told = append(told, name+" is now "+c.taken[want.SHA256])
			default:
				missing = append(missing, name)
			}
			continue
		}
		accounted[at] = true
		switch {
		case sameFile(want, got), c.collides(name, got), name == "package.json" && rewritten(c.tarball.Manifest, p.Manifest),
			c.tarball.Bundled[name] != nil && rewritten(c.tarball.Bundled[name], p.Bundled[name]):
		case c.scripts && c.commands[name] && got.Size > 0 && c.lent[got.SHA256] != "":
			told = append(told, name+" is "+c.lent[got.SHA256])
		case c.unpatched(p, name, want):
			patched = append(patched, name)
		case slices.Contains(p.Builtin, name) && got.Size >= 0:
			unknown = append(unknown, name)
		default:
			if len(changed) == 0 {
				expected, actual = digestText(want), digestText(got)
			}
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		switch {
		case accounted[name], (installerFiles[name] || bunTag.MatchString(name)) && p.Files[name].Size >= 0:
		case p.Originals[name].Size < 0 && p.Files[name].Size >= 0:
			patched = append(patched, name)
		case slices.Contains(p.Builtin, name) && p.Files[name].Size >= 0:
			unknown = append(unknown, name)
		case c.inert(name), c.scripts && !inModules(name) && !c.loads[name]:
			told = append(told, name)
		default:
			added = append(added, name)
		}
	}
	switch {
	case len(changed) > 0:
		return fail(reasonFilesChanged, expected, actual).with(inPlace(p, append(changed, slices.Concat(missing, added)...)))
	case len(missing) > 0:
		return fail(reasonFilesMissing, "", "").with(inPlace(p, missing))
	case len(added) > 0:
		return fail(reasonFilesAdded, "", "").with(inPlace(p, added))
	case len(unknown) > 0:
		return skip(reasonPatchUnknown).with(inPlace(p, unknown))
	case len(patched) > 0:
		return passWith(reasonFilesPatched, "", "").with(inPlace(p, append(patched, told...)))
	case len(told) > 0:
		return passWith(reasonFilesMade, "", "").with(inPlace(p, told))
	}
	return pass()
}

// unpatched reports whether a file is the tarball's once the patches of the project are undone.
func (c *tarballFiles) unpatched(p *evidence.Place, name string, want evidence.File) bool {
	was, ok := p.Originals[name]
	return ok && sameFile(want, was)
}

// loadedBefore notes which other paths Node.js would load where a file of the tarball is asked for without its
// ending, or by its directory. Source: Node.js documentation, Modules: CommonJS, LOAD_AS_FILE and LOAD_AS_DIRECTORY.
func (c *tarballFiles) loadedBefore(name string) {
	endings := [...]string{".js", ".json", ".node"}
	dir, base := path.Split(name)
	stem, ending := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
	if i := slices.Index(endings[:], ending); i >= 0 {
		if !c.commands[name] { // some packages fetch bin/tool for their bin/tool.js to run
			c.loads[stem] = true
		}
		for _, before := range endings[:i] {
			c.loads[stem+before] = true
		}
		if in := strings.TrimSuffix(dir, "/"); in != "" && (base == "index"+ending || base == "package.json") {
			for _, before := range endings {
				c.loads[in+before] = true
			}
		}
	}
	// A package.json says how files below it are read.
	for d := path.Dir(name); d != "." && !c.loads[d+"/package.json"]; d = path.Dir(d) {
		c.loads[d+"/package.json"] = true
	}
}

// inModules reports whether a path leads into a node_modules, where Node.js looks for packages. node_modules/.tmp is
// the directory for temporary files that pnpm gives to install scripts (@pnpm/npm-lifecycle), and no package's.
func inModules(name string) bool {
	return strings.Contains("/"+strings.TrimPrefix(name, "node_modules/.tmp/")+"/", "/node_modules/")
}

// inPlace names the first few files, and where.
func inPlace(p *evidence.Place, names []string) string {
	const most = 5
	more := ""
	if n := len(names) - most; n > 0 {
		names, more = names[:most], fmt.Sprintf(" and %d more", n)
	}
	return p.Path + ": " + strings.Join(names, ", ") + more
}

// windowsName is how npm spells, on Windows, what a file name may not hold there (node-tar, winchars).
var windowsName = strings.NewReplacer(`\`, "/", "|", "\uf07c", "<", "\uf03c", ">", "\uf03e", "?", "\uf03f", ":", "\uf03a")

// find looks for a file of the tarball on disk, by its own name first.
func (c *tarballFiles) find(p *evidence.Place, name string) (at string, got evidence.File, ok bool) {
	names := append([]string{name}, c.folded[strings.ToLower(name)]...)
	if dir, base := path.Split(name); base == ".gitignore" {
		if _, both := c.tarball.Files[dir+".npmignore"]; !both {
			names = append(names, dir+".npmignore")
		}
	}
	if w := windowsName.Replace(name); w != name {
		names = append(names, w)
	}
	for _, at := range names {
		if got, ok := p.Files[at]; ok {
			return at, got, true
		}
	}
	return "", evidence.File{}, false
}

// ignoreFile reports whether npm leaves a file out: a .gitignore beside a .npmignore.
func (c *tarballFiles) ignoreFile(name string) bool {
	dir, base := path.Split(name)
	_, both := c.tarball.Files[dir+".npmignore"]
	return base == ".gitignore" && both
}

// collides reports whether a file on disk is that of another path of the tarball which the file system may
// take for the same: one in other letters, or a .gitignore that became .npmignore.
func (c *tarballFiles) collides(name string, got evidence.File) bool {
	others := c.folded[strings.ToLower(name)]
	if dir, base := path.Split(name); base == ".npmignore" {
		others = append([]string{dir + ".gitignore"}, others...)
	}
	for _, other := range others {
		if want, ok := c.tarball.Files[other]; ok && sameFile(want, got) {
			return true
		}
	}
	return false
}

// sameFile reports whether a file on disk is the tarball's, as it is or as npm leaves a command.
func sameFile(want, got evidence.File) bool {
	var none [len(want.SHA256)]byte
	if got.SHA256 == none {
		return false
	}
	return got.Size == want.Size && got.SHA256 == want.SHA256 ||
		got.Size == want.Size-1 && want.Shebang != none && got.SHA256 == want.Shebang
}

// digestText is a file's size and, where it was read, its digest: one of another size than expected is not.
func digestText(f evidence.File) string {
	var none [len(f.SHA256)]byte
	switch {
	case f.Size < 0:
		return "no regular file"
	case f.SHA256 == none:
		return fmt.Sprintf("%d bytes", f.Size)
	}
	return fmt.Sprintf("%d bytes, sha256 %x", f.Size, f.SHA256)
}

// installerFiles are what yarn puts beside the files of a package: the mark of one that it took out of its zip file
// (plugin-pnp), and, up to 1, the notes of its cache.
var installerFiles = map[string]bool{".ready": true, ".yarn-metadata.json": true, ".yarn-tarball.tgz": true}

// bunTag matches the file in which bun notes what a package was installed from.
// Source: bun, src/install (".bun-tag", ".bun-tag-" and a digest).
var bunTag = regexp.MustCompile(`^\.bun-tag(-[0-9A-Za-z]+)?$`)

// compiled matches what Python makes of NAME.py: __pycache__/NAME.cpython-312.opt-1.pyc. Source: PEP 3147, PEP 488.
var compiled = regexp.MustCompile(`^(.*/)?__pycache__/([^/]+?)\.[a-z]+-?[0-9]+(?:\.opt-[0-9A-Za-z]+)?\.pyc$`)

// inert reports whether a file that was added is one that systems and interpreters leave behind and that
// Node.js loads under no name that a package would ask for. Python loads what it compiled only for a file that is there:
// one without it in the tarball is none of these.
func (c *tarballFiles) inert(name string) bool {
	switch path.Base(name) {
	case ".DS_Store", "Thumbs.db", "desktop.ini":
		return true
	}
	m := compiled.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	_, packed := c.tarball.Files[m[1]+m[2]+".py"]
	return packed
}

// rewritten reports whether a package.json on disk is the tarball's as npm up to 6 writes it back: put in order
// as on publish, with npm's notes under names that begin with "_". Everything that Node.js or npm acts on has
// to be the same. Source: npm 6, read-package-json and lib/install/update-package-json.js.
func rewritten(original, disk []byte) bool {
	if disk == nil {
		return false
	}
	was, _, err := readManifest(original, lastOfName)
	if err != nil {
		return false
	}
	is, repeated, err := readManifest(disk, lastOfName)
	if err != nil || repeated || len(compareManifests(is, was)) > 0 {
		return false
	}
	var r manifestReader
	before, err := r.object(bytes.TrimPrefix(original, []byte("\xef\xbb\xbf")))
	if err != nil {
		return false
	}
	after, err := r.object(bytes.TrimPrefix(disk, []byte("\xef\xbb\xbf")))
	if err != nil {
		return false
	}
	for name := range before {
		if _, kept := after[name]; !kept && !putInOrder[name] && !strings.HasPrefix(name, "_") {
			return false
		}
	}
	for name, value := range after {
		if putInOrder[name] || strings.HasPrefix(name, "_") {
			continue
		}
		if old, was := before[name]; !was || !sameJSON(old, value) {
			return false
		}
	}
	return true
}

// putInOrder are the members that npm writes in its own form. Those that decide what is loaded or run are not
// among them, save where [compareManifests] compares them.
var putInOrder = map[string]bool{
	"name": true, "version": true, "repository": true, "repositories": true, "scripts": true, "bin": true,
	"dependencies": true, "devDependencies": true, "optionalDependencies": true, "peerDependencies": true,
	"bundleDependencies": true, "bundledDependencies": true,
	"description": true, "author": true, "contributors": true, "maintainers": true, "keywords": true, "license": true,
	"licenses": true, "bugs": true, "homepage": true, "files": true, "man": true, "readme": true, "readmeFilename": true,
	"gitHead": true, "gypfile": true, "deprecated": true, "dist": true, "modules": true, "directories": true,
}

func sameJSON(a, b jsontext.Value) bool {
	a, b = a.Clone(), b.Clone()
	options := []jsontext.Options{jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)}
	if a.Canonicalize(options...) != nil || b.Canonicalize(options...) != nil {
		return false
	}
	return bytes.Equal(a, b)
}
