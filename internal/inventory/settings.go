package inventory

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxSettings bounds a file of settings. They hold a handful of lines.
const maxSettings = 64 << 10

// A setting is one line of a package manager's configuration in the project.
type setting struct {
	file, key, value string // key is in .npmrc's form: "git-branch-lockfile"
	line             int
}

// judgeSettings warns of the project's own settings by which a package manager installs from something else than the
// lockfile that was read. Whoever may edit the lockfile may write such a file, too, and nothing in the lockfile tells
// of it.
// Source: https://docs.npmjs.com/cli/using-npm/config, https://pnpm.io/settings, yarnpkg/yarn, src/rc.js and
// src/cli/index.js, https://bun.com/docs/runtime/bunfig.
func (s *source) judgeSettings(f *format, t *tree) {
	var all []setting
	switch manager := f.manager(); {
	case manager == "npm":
		all = s.npmrc()
	case manager == "pnpm":
		all = append(s.npmrc(), s.pnpmSettings()...)
	case manager == "yarn" && t.version == 1:
		all = s.yarnrc()
	case manager == "bun":
		all = s.bunfig()
	}
	for _, x := range all {
		what, certain := x.effect(s, f)
		if what == "" {
			continue
		}
		t.warnings = append(t.warnings, Warning{
			Code: "setting-odd", File: x.file, Line: x.line, Suspicious: certain, Doubtful: !certain,
			Message: fmt.Sprintf("%s is %s: %s", x.key, quoteShort(x.value), what),
		})
	}
}

// effect is what a setting does to what the lockfile says; "" for nothing. It is certain where the lockfile does not
// count at all.
func (x *setting) effect(s *source, f *format) (what string, certain bool) {
	off := x.value == "false"
	switch manager := f.manager(); manager + " " + x.key {
	case "npm package-lock", "npm shrinkwrap", "pnpm lockfile":
		if off {
			return manager + " takes no notice of the lockfile", true
		}
	case "pnpm git-branch-lockfile":
		if !off {
			return "pnpm reads the lockfile of the branch in the place of " + pnpmLockfile, true
		}
	case "pnpm lockfile-dir":
		if path.Clean(x.value) != "." {
			return "pnpm reads the lockfile there", true
		}
	case "pnpm shared-workspace-lockfile":
		if off {
			return "pnpm reads a lockfile in each package of the workspace, and these are not read here", false
		}
	case "yarn no-lockfile":
		if !off {
			return "yarn takes no notice of the lockfile", true
		}
	case "yarn cwd":
		if path.Clean(x.value) != "." {
			return "yarn installs what is asked for there", true
		}
	case "pnpm store-dir", "yarn cache-folder", "bun install.cache.dir":
		if where := path.Clean(strings.ReplaceAll(x.value, `\`, "/")); fs.ValidPath(where) {
			if _, err := fs.Stat(s.fsys, where); err == nil {
				return manager + " takes packages from this directory of the project without comparing them with the lockfile's integrity", false
			}
		}
	}
	return "", false
}

// npmrc reads the project's .npmrc, as far as it may concern lockfiles. Whatever cannot be read is left to those who
// read registries there.
func (s *source) npmrc() (all []setting) {
	for n, line := range s.settingLines(".npmrc") {
		if line[0] == ';' || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			value = "true"
		}
		all = append(all, setting{".npmrc", unquoteSetting(key), unquoteSetting(value), n})
	}
	return all
}

// yarnrc reads the project's .yarnrc: keys, and flags for all commands or one, such as "--install.no-lockfile true".
func (s *source) yarnrc() (all []setting) {
	for n, line := range s.settingLines(".yarnrc") {
		var key, value string
		if quoted, ok := strings.CutPrefix(line, `"`); ok {
			key, value, _ = strings.Cut(quoted, `"`)
		} else if i := strings.IndexAny(line, " \t:"); i >= 0 {
			key, value = line[:i], line[i:]
		} else {
			key = line
		}
		if flag, ok := strings.CutPrefix(key, "--"); ok {
			if key = flag; strings.Contains(flag, ".") {
				_, key, _ = strings.Cut(flag, ".")
			}
		}
		all = append(all, setting{".yarnrc", key, unquoteSetting(strings.TrimLeft(value, " \t:")), n})
	}
	return all
}

// settingLines returns the lines of a file of settings that hold something, without blanks around them, by number.
func (s *source) settingLines(file string) func(yield func(int, string) bool) {
	data, err := s.readFile(file, maxSettings)
	if err != nil {
		data = nil
	}
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
			n++
			if line = strings.TrimSpace(line); line != "" && !yield(n, line) {
				return
			}
		}
	}
}

func unquoteSetting(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	return s
}

// pnpmSettings reads those of pnpm-workspace.yaml, whose names are written another way there.
func (s *source) pnpmSettings() (all []setting) {
	keys := map[string]string{
		"lockfile": "lockfile", "gitBranchLockfile": "git-branch-lockfile", "lockfileDir": "lockfile-dir",
		"sharedWorkspaceLockfile": "shared-workspace-lockfile", "storeDir": "store-dir",
	}
	data, err := s.readFile(pnpmWorkspaceFile, maxManifest)
	if err != nil {
		return nil
	}
	docs, err := parseYAML(pnpmWorkspaceFile, string(data))
	if err != nil {
		return nil // what cannot be read is told of where packages are looked for
	}
	for _, doc := range docs {
		for k, v := range doc.members() {
			if key := keys[k.text()]; key != "" && !v.isNull() {
				all = append(all, setting{pnpmWorkspaceFile, key, v.text(), k.line()})
			}
		}
	}
	return all
}

// bunfig reads where bun keeps packages.
func (s *source) bunfig() []setting {
	const file = "bunfig.toml"
	data, err := s.readFile(file, maxSettings)
	if err != nil {
		return nil
	}
	// The reader's time grows with the square of how deep tables lie in one another, and more.
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("["))+bytes.Count(data, []byte(".")) > 1000 {
		return nil
	}
	var settings struct {
		Install struct {
			Cache any `toml:"cache"`
		} `toml:"install"`
	}
	if _, err := toml.Decode(string(data), &settings); err != nil {
		return nil
	}
	cache := settings.Install.Cache
	if table, ok := cache.(map[string]any); ok {
		cache = table["dir"]
	}
	dir, ok := cache.(string)
	if !ok {
		return nil
	}
	line := 1 + slices.IndexFunc(strings.Split(string(data), "\n"), func(l string) bool { return strings.Contains(l, dir) })
	return []setting{{file, "install.cache.dir", dir, max(line, 0)}}
}
