package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"assay/internal/inventory"
)

// inMember returns an error for a directory in which nothing is installed but links out of it, below one with a lockfile:
// a workspace of a package manager that keeps packages in a store, as pnpm does. nil for any other project.
func (s *session) inMember(path string, p *inventory.Project) error {
	if p.Kind != "node_modules" || path == "-" {
		return nil
	}
	dir := projectDir(s.env, path)
	if !linksOut(dir) {
		return nil
	}
	hint := s.lockedAbove(dir)
	if hint == "" {
		return nil
	}
	return usagef(hint, "%s holds nothing but links out of this directory, so what is installed is not there", s.shown(dir, "node_modules"))
}

// linksOut reports whether a project's node_modules holds links, all of them lead out of the project, and nothing else is
// there that could be a package.
func linksOut(dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	links, err := linksOf(real, filepath.Join(real, "node_modules"))
	return err == nil && links > 0
}

// errInside says that a package lies in the project itself.
var errInside = errors.New("inside")

// linksOf counts the links of a node_modules, or of a scope in it. errInside: one does not lead out of the project.
func linksOf(project, dir string) (links int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
			if e.Name() == ".pnpm" || e.Name() == ".bun" || e.Name() == ".store" {
				return 0, errInside // a store of its own
			}
		case e.IsDir() && strings.HasPrefix(e.Name(), "@"):
			n, err := linksOf(project, name)
			if err != nil {
				return 0, err
			}
			links += n
		case e.IsDir():
			return 0, errInside
		case e.Type()&os.ModeSymlink != 0:
			to, err := filepath.EvalSymlinks(name)
			if err == nil && within(project, to) {
				return 0, errInside
			}
			links++
		}
	}
	return links, nil
}
