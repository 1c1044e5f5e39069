package inventory

import (
	"bytes"
	"strings"
)

// A format is one way to write down what a project uses.
type format struct {
	kind  string
	files []string                                    // names in a project's directory; the first that exists is read; nil: never found, only named by the user
	sniff func(head []byte) bool                      // tells a file of another name by its first kilobytes; nil: by name only
	read  func(s *source, file string) (*tree, error) // nil: known, not read yet
}

const (
	kindShrinkwrap  = "npm-shrinkwrap"
	kindPackageLock = "package-lock"
	kindNodeModules = "node_modules"

	nodeModules    = "node_modules"
	hiddenLockfile = "node_modules/.package-lock.json"
)

// formats lists every format in order of precedence: of several files in one directory the first
// counts. npm prefers a shrinkwrap to a package-lock, and node_modules is what is left where no
// lockfile is.
// Source: npm/cli, workspaces/arborist/lib/shrinkwrap.js.
var formats = []format{
	{kindShrinkwrap, []string{"npm-shrinkwrap.json"}, nil, readPackageLock},
	{kindPackageLock, []string{"package-lock.json"}, isPackageLock, readPackageLock},
	{"yarn", []string{"yarn.lock"}, holds("# yarn lockfile", "__metadata:"), readYarn},
	{kindPnpm, []string{pnpmLockfile}, holds("lockfileVersion:"), readPnpmLock},
	{"bun", []string{"bun.lock", "bun.lockb"}, nil, readBunLock},
	{"cyclonedx", nil, holds(`"bomFormat"`, "cyclonedx.org/schema/bom"), readCycloneDX},
	{"spdx", nil, holds(`"spdxVersion"`, "SPDXVersion:", "spdxVersion:", "spdx.org/rdf"), readSPDX},
	{kindNodeModules, []string{hiddenLockfile, nodeModules}, nil, readNodeModules},
}

// isPackageLock tells npm's lockfile, in which SPDX documents look alike.
func isPackageLock(head []byte) bool {
	return holds(`"lockfileVersion"`, `"packages"`)(head) && !holds(`"spdxVersion"`)(head)
}

// manager is the package manager that writes a format, such as "yarn"; "" for node_modules and for SBOMs.
func (f *format) manager() string {
	switch f.kind {
	case kindShrinkwrap, kindPackageLock:
		return "npm"
	case kindNodeModules:
		return ""
	}
	for _, m := range []string{"yarn", "pnpm", "bun"} {
		if strings.HasPrefix(f.kind, m) {
			return m
		}
	}
	return ""
}

// holds returns a test for a format that shows one of the marks near its beginning.
func holds(marks ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, m := range marks {
			if bytes.Contains(head, []byte(m)) {
				return true
			}
		}
		return false
	}
}
