package verify

import (
	"cmp"
	"errors"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/evidence"
	"assay/internal/npm"
)

// checkManifest holds when the package.json inside the tarball says what the registry's document says, of
// all that installers act on: name, version, repository, scripts, dependencies and commands. The document is
// written by whoever publishes, apart from the tarball, and no signature covers it. It may show a harmless
// package while the tarball holds another ("manifest confusion"); it may also bring in what the tarball knows
// nothing of, since npm takes dependencies, commands and install scripts from the document.
//
// What npm and its like change on publish is no difference; see [manifest]. Peer dependencies count among
// dependencies, because npm 7 and later install them; development dependencies do not, because nobody does.
// That the document shows more scripts for development than the tarball holds, or a repository where it
// holds none, is told and hides nothing: some tools strip package.json while they pack, and npm reads it
// again afterwards.
func checkManifest(f *facts) outcome {
	t := f.in.Evidence.Tarball
	switch {
	case t == nil:
		return skip(reasonNotAsked)
	case t.Reason != "":
		return undecided(t.Reason, t.Detail)
	case t.Manifest == nil && t.Problem == "":
		return skip(reasonNotAsked) // only a digest stands in for the tarball
	}
	if f.docProblem != "" {
		return f.withoutDocument()
	}
	switch t.Problem {
	case "", evidence.ProblemTrailing:
	case evidence.ProblemExpanded, evidence.ProblemManifestSize:
		return undecided(reasonManifestTooLarge, t.Problem)
	case evidence.ProblemManifestMissing:
		return fail(reasonManifestAbsent, "package.json", "none")
	case evidence.ProblemManifestTwice, evidence.ProblemManifestAmbiguous, evidence.ProblemManifestType:
		return fail(reasonManifestAmbiguous, "one file package.json", t.Problem)
	default:
		return fail(reasonTarballDamaged, "", t.Problem)
	}
	shown, _, err := readManifest(f.in.Evidence.Document.Body, lastOfName)
	if err != nil {
		return fail(reasonManifestAmbiguous, "", "").with("the registry's document: " + err.Error())
	}
	held, repeated, err := readManifest(t.Manifest, lastOfName)
	if errors.Is(err, errProto) {
		return fail(reasonManifestAmbiguous, "", "").with(err.Error())
	} else if err != nil {
		return fail(reasonManifestUnreadable, "", "").with(err.Error())
	}
	held.gyp = t.Gyp
	o := judgeDifferences(compareManifests(shown, held))
	if o.status == Pass && repeated {
		// npm takes the last of two members of one name. Whoever takes the first must not find more than the
		// registry shows; another range of the same dependency is an oversight that real packages have.
		first, _, err := readManifest(t.Manifest, firstOfName)
		if err != nil {
			return fail(reasonManifestAmbiguous, "", "").with(err.Error())
		}
		first.gyp = t.Gyp
		all := slices.DeleteFunc(compareManifests(shown, first), difference.oversight)
		if other := judgeDifferences(all); other.status == Fail {
			other.reason = reasonManifestAmbiguous
			return other.with("a name stands twice in package.json")
		}
	}
	return o
}

// A difference is one thing of which the registry's document and package.json say something else.
type difference struct {
	reason          string // "" where nothing is hidden
	item            string // such as "scripts.postinstall"
	registry, local string // what each says; "" for nothing
}

// oversight reports whether a difference that shows only to a reader of the first of two equal names is
// harmless: a script that nothing runs on install, or another version of a dependency that both have.
func (d difference) oversight() bool {
	switch d.reason {
	case reasonManifestScript:
		return true
	case reasonManifestDependency:
		return d.registry != "" && !strings.ContainsAny(d.local, ":/")
	}
	return false
}

// judgeDifferences makes one answer of all differences: the first that hides something is told in full,
// the others by their names.
func judgeDifferences(all []difference) outcome {
	slices.SortStableFunc(all, func(a, b difference) int { return cmp.Compare(weight(a.reason), weight(b.reason)) })
	if len(all) == 0 {
		return pass()
	}
	var o outcome
	if d := all[0]; d.reason != "" {
		o = fail(d.reason, d.registry, d.local)
	} else {
		o = passWith(reasonManifestStripped, d.registry, d.local)
	}
	const most = 5
	var items []string
	for _, d := range all {
		if o.status == Fail && d.reason == "" {
			continue
		}
		if len(items) == most {
			items = append(items, "…")
			break
		}
		items = append(items, d.item)
	}
	return o.with(strings.Join(items, ", "))
}

// manifestReasons lists the reasons of differences, the worst first.
var manifestReasons = []string{
	reasonManifestName, reasonManifestVersion, reasonManifestInstallScript, reasonManifestDependency, reasonManifestBin,
	reasonManifestScript, reasonManifestRepository,
}

func weight(reason string) int {
	if i := slices.Index(manifestReasons, reason); i >= 0 {
		return i
	}
	return len(manifestReasons)
}

func compareManifests(shown, held *manifest) []difference {
	var all []difference
	add := func(reason, item, registry, local string) {
		all = append(all, difference{reason, item, registry, local})
	}
	if held.name != shown.name {
		add(reasonManifestName, "name", shown.name, held.name)
	}
	if cleanVersion(held.version) != cleanVersion(shown.version) {
		add(reasonManifestVersion, "version", shown.version, held.version)
	}
	compareScripts(shown, held, add)
	compareDependencies(shown, held, add)
	compareBins(shown, held, add)
	if !sameClaim(shown.repository, held.repository) {
		reason := reasonManifestRepository
		if held.repository == nil {
			reason = "" // workflow-identity compares what is shown
		}
		add(reason, "repository", string(shown.repository), string(held.repository))
	}
	return all
}

// runsOnInstall are the scripts that installers run for a dependency.
var runsOnInstall = []string{"preinstall", "install", "postinstall"}

func compareScripts(shown, held *manifest, add func(reason, item, registry, local string)) {
	for _, name := range union(shown.scripts, held.scripts) {
		registry, isShown := shown.scripts[name]
		local, isHeld := held.scripts[name]
		reason := reasonManifestScript
		switch {
		case isShown && isHeld && registry == local, !isHeld && addedOnPublish(held, name, registry):
			continue
		case !isHeld && name == "install" && registry == gypScript && !held.gyp:
			reason = "" // there is nothing to build: the package was packed without the sources that npm saw beside it
		case !isHeld && disabledOnPack(held, name, registry), !isShown && strings.HasPrefix(name, "_") && disabledOnPack(held, name[1:], shown.scripts[name[1:]]):
			reason = ""
		case slices.Contains(runsOnInstall, name):
			reason = reasonManifestInstallScript
		case !isHeld:
			reason = ""
		}
		add(reason, "scripts."+name, registry, local)
	}
}

// addedOnPublish reports whether clients add the script by themselves: for a package with a file *.gyp that has no
// script of its own to install it, or one with a file server.js, which nothing runs on install.
func addedOnPublish(held *manifest, name, script string) bool {
	switch name {
	case "install":
		return script == gypScript && held.gyp && held.scripts["install"] == "" && held.scripts["preinstall"] == ""
	case "start":
		return script == "node server.js"
	}
	return false
}

// gypScript is what npm runs to install a package with a file *.gyp.
const gypScript = "node-gyp rebuild"

// disabledOnPack reports whether the tarball holds a script that is shown under its name with "_" before it:
// so the tool pinst keeps a package's own hooks from running where it is a dependency.
func disabledOnPack(held *manifest, name, script string) bool {
	disabled, ok := held.scripts["_"+name]
	_, active := held.scripts[name]
	return ok && !active && disabled == script
}

func compareDependencies(shown, held *manifest, add func(reason, item, registry, local string)) {
	for _, kind := range []struct {
		field       string
		shown, held map[string]string
	}{
		{"dependencies", shown.dependencies, held.dependencies},
		{"peerDependencies", shown.peers, held.peers},
	} {
		for _, name := range union(kind.shown, kind.held) {
			registry, isShown := kind.shown[name]
			local, isHeld := kind.held[name]
			switch {
			case isShown && isHeld && sameSpec(registry, local):
				continue
			case isShown && !isHeld && held.bundled[name] && registry == "*":
				continue // npm lists what is bundled
			}
			add(reasonManifestDependency, kind.field+"."+name, registry, local)
		}
	}
	// Of what is bundled npm fetches nothing, and of what is not it does: who hides it shows other code than is installed.
	for _, name := range slices.Sorted(maps.Keys(shown.bundled)) {
		if !held.bundled[name] {
			add(reasonManifestDependency, "bundleDependencies."+name, name, "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(held.bundled)) {
		if !shown.bundled[name] {
			add(reasonManifestDependency, "bundleDependencies."+name, "", name)
		}
	}
	for _, name := range union(shown.optional, held.optional) {
		registry, isShown := shown.optional[name]
		local, isHeld := held.optional[name]
		if isShown != isHeld {
			add(reasonManifestDependency, "optionalDependencies."+name, registry, local)
		}
	}
}

// sameSpec reports whether two ranges or addresses of a dependency mean the same: npm rewrites those of the
// git hosts that it knows.
func sameSpec(a, b string) bool {
	if a == b {
		return true
	}
	baseA, refA, _ := strings.Cut(a, "#")
	baseB, refB, _ := strings.Cut(b, "#")
	if unescape(refA) != unescape(refB) {
		return false
	}
	repoA, errA := npm.ParseRepository(baseA, "")
	repoB, errB := npm.ParseRepository(baseB, "")
	if errA != nil || errB != nil {
		return false
	}
	same, _ := repoA.Match(repoB)
	return same
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func compareBins(shown, held *manifest, add func(reason, item, registry, local string)) {
	for _, name := range union(shown.bin, held.bin) {
		registry, isShown := shown.bin[name]
		local, isHeld := held.bin[name]
		if isShown && isHeld && registry == local {
			continue
		}
		// Of directories.bin npm makes a command of each file in it.
		if isShown && len(held.bin) == 0 && held.binDirectory != "" && name == path.Base(registry) &&
			(held.binDirectory == "." || strings.HasPrefix(registry, held.binDirectory+"/")) {
			continue
		}
		add(reasonManifestBin, "bin."+name, registry, local)
	}
	if held.binDirectory != "" && len(held.bin) == 0 && len(shown.bin) == 0 && held.binDirectory != shown.binDirectory {
		add(reasonManifestBin, "directories.bin", shown.binDirectory, held.binDirectory)
	}
}

// sameClaim reports whether two values of repository claim the same one.
func sameClaim(shown, held jsontext.Value) bool {
	if string(shown) == string(held) {
		return true
	}
	a, hasA, errA := npm.RepositoryFromManifest(shown)
	b, hasB, errB := npm.RepositoryFromManifest(held)
	if errA == nil && errB == nil {
		same, alike := a.Match(b)
		return hasA == hasB && (!hasA || same || alike)
	}
	// What cannot be read has to be the same text. npm 2 wrote git://github.com/%3Ao/r for git://github.com:o/r.
	plain := func(v jsontext.Value) string {
		return strings.ReplaceAll(strings.ReplaceAll(unescape(repositoryText(v)), "/:", "/"), "github.com:", "github.com/")
	}
	return plain(shown) == plain(held)
}

// cleanVersion reads a version as npm does on publish: white space, "v" and "=" before it, zeros before its
// numbers and build metadata go, and a prerelease may follow without its hyphen. What is no version stays
// as it is. Source: node-semver, functions/clean.js with loose parsing.
func cleanVersion(s string) string {
	v, _, _ := strings.Cut(strings.TrimLeftFunc(trimJS(s), func(c rune) bool { return c == 'v' || c == '=' || isSpace(c) }), "+")
	var numbers []string
	for i := range 3 {
		n := 0
		for n < len(v) && '0' <= v[n] && v[n] <= '9' {
			n++
		}
		if n == 0 {
			return s
		}
		numbers = append(numbers, cmp.Or(strings.TrimLeft(v[:n], "0"), "0"))
		v = v[n:]
		if i < 2 {
			if !strings.HasPrefix(v, ".") {
				return s
			}
			v = v[1:]
		}
	}
	clean := strings.Join(numbers, ".")
	if v = strings.TrimPrefix(v, "-"); v != "" {
		clean += "-" + v
	}
	return clean
}

func union(a, b map[string]string) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}
