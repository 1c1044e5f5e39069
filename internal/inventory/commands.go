package inventory

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// commands looks at a directory of commands (".bin"), which npm and others put before all else in the search path of
// scripts. Each command is a link to a file of a package that has says lies somewhere, or of the project, or a script
// that runs such a file, in the words of the package managers that write such scripts. Those for Windows alone are
// passed over.
func (s *strays) commands(where string, has func(place string) bool) {
	fi, err := os.Lstat(s.p.onDisk(where))
	if err != nil || !fi.IsDir() {
		if err == nil {
			s.add(where, "%s is no directory", quoteShort(where))
		}
		return
	}
	for _, e := range s.list(where) {
		place := where + "/" + e.Name()
		switch ext := strings.ToLower(path.Ext(e.Name())); {
		case e.Type()&fs.ModeSymlink != 0:
			real, err := filepath.EvalSymlinks(s.p.onDisk(place))
			if err != nil {
				continue // of what is not installed; nothing runs
			}
			if to := s.below(where, real); !vouched(to, has) {
				s.add(place, "%s is a command, and a link to %s, which is no file of a package that the lockfile lists", quoteShort(place), quoteShort(to))
			}
		case !e.Type().IsRegular(), ext == ".cmd", ext == ".ps1", ext == ".exe", ext == ".bunx":
		default:
			s.command(where, place, has)
		}
	}
}

// command looks at a command that is a file.
func (s *strays) command(where, place string, has func(string) bool) {
	const maxShim = 64 << 10
	fi, err := os.Stat(s.p.onDisk(place))
	if err != nil || inert(path.Base(place)) {
		return
	}
	var data []byte
	if fi.Size() <= maxShim {
		data, err = os.ReadFile(s.p.onDisk(place))
	}
	if err != nil {
		s.add(place, "%s is a command, and cannot be read: %s", quoteShort(place), quoteShort(err.Error()))
		return
	}
	targets, err := shimTargets(string(data))
	if err != nil {
		s.add(place, "%s is a command that no package manager writes: %s", quoteShort(place), err)
		return
	}
	for _, target := range targets {
		real, err := filepath.EvalSymlinks(s.p.onDisk(path.Join(where, target)))
		if err != nil {
			continue
		}
		if to := s.below(where, real); !vouched(to, has) {
			s.add(place, "%s is a command that runs %s, which is no file of a package that the lockfile lists", quoteShort(place), quoteShort(to))
		}
	}
}

// below is where a file lies in the project, though its node_modules may be kept elsewhere.
func (s *strays) below(where, real string) string {
	for _, modules := range []string{path.Dir(where), nodeModules} {
		if to, err := filepath.EvalSymlinks(s.p.onDisk(modules)); err == nil {
			if rel, err := filepath.Rel(to, real); err == nil && filepath.IsLocal(rel) {
				return modules + "/" + filepath.ToSlash(rel)
			}
		}
	}
	return s.relative(real)
}

// relative is the path of a real directory or file below the project, or from it.
func (s *strays) relative(real string) string {
	base := absolute(s.p.Dir)
	if r, err := filepath.EvalSymlinks(base); err == nil {
		base = absolute(r)
	}
	rel, err := filepath.Rel(base, absolute(real))
	if err != nil {
		return filepath.ToSlash(real)
	}
	if rel == "." {
		return ""
	}
	return filepath.ToSlash(rel)
}

// vouched reports whether a file lies in a package that has knows, or is the project's own, such as a workspace's.
func vouched(file string, has func(place string) bool) bool {
	for dir := path.Dir(file); dir != "." && dir != "/" && path.Base(dir) != ".."; dir = path.Dir(dir) {
		if has(dir) {
			return true
		}
	}
	return !strings.Contains("/"+file, "/"+nodeModules+"/") && file != ".." && !strings.HasPrefix(file, "../") && !path.IsAbs(file)
}

// listed reports whether the lockfile lists a package in a directory.
func (s *strays) listed(place string) bool {
	l := s.p.find(place)
	return l != nil && !l.link
}

// has reports whether a package lies in a directory.
func (d *disk) has(place string) bool {
	_, ok := d.places[place]
	return ok
}

// The lines of a script that starts a command.
// Source: pnpm/cmd-shim and npm/cmd-shim, which it is a fork of.
var (
	shimLines = map[string]bool{
		"": true, "#!/bin/sh": true, `basedir=$(dirname "$(echo "$0" | sed -e 's,\\,/,g')")`: true,
		"case `uname` in": true, "*CYGWIN*|*MINGW*|*MSYS*)": true, "if command -v cygpath > /dev/null 2>&1; then": true, "basedir=`cygpath -w \"$basedir\"`": true,
		"*CYGWIN*|*MINGW*|*MSYS*) basedir=`cygpath -w \"$basedir\"`;;": true, "*CYGWIN*) basedir=`cygpath -w \"$basedir\"`;;": true,
		";;": true, "esac": true, "fi": true, "else": true, `if [ -z "$NODE_PATH" ]; then`: true, "exit $?": true, "ret=$?": true, "exit $ret": true,
	}
	shimPath = regexp.MustCompile("^export NODE_PATH=\"[^\"$`\\\\]*/node_modules(:\\$NODE_PATH)?\"$")
	shimTest = regexp.MustCompile(`^if \[ -x "\$basedir/[A-Za-z0-9_.-]+" \]; then$`)
	shimRun  = regexp.MustCompile("^(?:exec )?(?:(?:[A-Za-z][A-Za-z0-9_.-]*|\"\\$basedir/[A-Za-z0-9_.-]+\") +(?:--?[A-Za-z0-9][A-Za-z0-9=_.-]* +)*)?\"\\$basedir/([^\"$`\\\\]+)\" +\"\\$@\"$")
)

// shimTargets returns the files that a script in .bin runs, from its directory.
func shimTargets(script string) ([]string, error) {
	var targets []string
	for i, line := range strings.Split(script, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case shimLines[line], i > 0 && strings.HasPrefix(line, "# "), shimPath.MatchString(line), shimTest.MatchString(line):
			continue
		}
		run := shimRun.FindStringSubmatch(line)
		if run == nil {
			return nil, errors.New("it has the line " + quoteShort(line))
		}
		targets = append(targets, run[1])
	}
	if targets == nil {
		return nil, errors.New("it runs nothing")
	}
	return targets, nil
}
