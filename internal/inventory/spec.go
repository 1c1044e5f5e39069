package inventory

import (
	"cmp"
	"net/url"
	"path"
	"strings"

	"assay/internal/npm"
)

// A specKind says where a dependency is asked for: what decides whether it is a registry package.
type specKind uint8

const (
	specRegistry  specKind = 1 << iota // version, range, tag, or alias of those
	specGit                            // repository
	specURL                            // tarball address
	specFile                           // tarball or directory of this machine
	specLink                           // link: and portal:, other package managers' symlinks
	specWorkspace                      // workspace:, likewise
)

// parseSpec tells the kind of a dependency's specifier, and for an alias ("npm:real@^1.0.0") the real name.
// Source: npm/cli, node_modules/npm-package-arg/lib/npa.js.
func parseSpec(spec string) (kind specKind, alias string) {
	spec = strings.TrimSpace(spec)
	if spec == "" {
		return specRegistry, ""
	}
	switch c := spec[0]; {
	case c == '.' || c == '/' || c == '\\' || strings.HasPrefix(spec, "~/"):
		return specFile, ""
	case len(spec) >= 2 && spec[1] == ':' && isLetter(c):
		return specFile, "" // a Windows drive
	}
	if scheme, rest, ok := strings.Cut(spec, ":"); ok && isScheme(scheme) {
		switch scheme = strings.ToLower(scheme); scheme {
		case "npm":
			name, _ := splitSpec(rest)
			return specRegistry, name
		case "file", "exec":
			return specFile, "" // exec: is made on this machine, by a script
		case "catalog":
			if !strings.Contains(rest, "/") {
				return specRegistry, "" // the version stands elsewhere
			}
		case "patch":
			return parsePatch(rest)
		case "link", "portal":
			return specLink, ""
		case "workspace":
			return specWorkspace, ""
		case "git", "github", "gitlab", "bitbucket", "gist", "sourcehut", "ssh":
			return specGit, ""
		case "http", "https":
			if isGitHost(spec) {
				return specGit, ""
			}
			return specURL, ""
		}
		if strings.HasPrefix(scheme, "git+") {
			return specGit, ""
		}
		return specURL, ""
	}
	if strings.Contains(spec, "@") && strings.Contains(spec, ":") && !strings.HasPrefix(spec, "@") {
		return specGit, "" // git@host:owner/repo
	}
	if strings.ContainsAny(spec, `/\`) {
		if strings.HasPrefix(spec, "@") || strings.ContainsAny(spec, " \t") {
			return specFile, ""
		}
		before, _, _ := strings.Cut(spec, "#")
		if strings.Count(before, "/") == 1 && !isTarball(before) {
			return specGit, "" // owner/repo on GitHub
		}
		return specFile, ""
	}
	if isTarball(spec) {
		return specFile, ""
	}
	return specRegistry, ""
}

// parsePatch tells the kind of what a patch: specifier of yarn changes: "left@npm%3A1.0.0#./left.patch". Its real
// name is the alias, since the package that is patched counts as asked for.
// Source: yarnpkg/berry, packages/plugin-patch/sources/patchUtils.ts.
func parsePatch(rest string) (kind specKind, alias string) {
	const patches = 8 // of a patched package, and so on
	for range patches {
		source, _, _ := strings.Cut(rest, "#")
		source, err := url.PathUnescape(source)
		if err != nil {
			break
		}
		name, spec := splitSpec(source)
		inner, ok := strings.CutPrefix(spec, "patch:")
		if !ok {
			if kind, alias = parseSpec(bareRange(spec)); name != "" {
				return kind, cmp.Or(alias, name)
			}
			break
		}
		rest = inner
	}
	return specURL, ""
}

// bareRange cuts the npm: that yarn 2 and later write before versions, ranges and tags. One before an alias stays.
func bareRange(spec string) string {
	if rest, ok := strings.CutPrefix(spec, "npm:"); ok {
		if _, version := splitSpec(rest); version == "" {
			return rest
		}
	}
	return spec
}

// isGitHost reports whether an http(s) address is a repository on a host that npm knows, as opposed to
// a tarball there.
// Source: npm/cli, node_modules/hosted-git-info/lib/hosts.js.
func isGitHost(spec string) bool {
	u, err := url.Parse(spec)
	if err != nil {
		return false
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	switch strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.") {
	case "github.com":
		return len(parts) == 2 || len(parts) >= 4 && parts[2] == "tree"
	case "gitlab.com":
		return len(parts) >= 2 && !strings.Contains(u.Path, "/-/") && !strings.Contains(u.Path, "/archive.tar.gz")
	case "bitbucket.org":
		return len(parts) == 2
	case "gist.github.com":
		return len(parts) <= 2
	case "git.sr.ht":
		return len(parts) == 2
	}
	return false
}

func isTarball(s string) bool {
	s = strings.ToLower(s)
	return strings.HasSuffix(s, ".tgz") || strings.HasSuffix(s, ".tar.gz") || strings.HasSuffix(s, ".tar")
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isScheme(s string) bool {
	if s == "" || !isLetter(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isLetter(c) && (c < '0' || c > '9') && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// splitSpec cuts "name@rest" at the @ that ends the name.
func splitSpec(s string) (name, rest string) {
	if i := strings.IndexByte(s[min(1, len(s)):], '@'); i >= 0 {
		return s[:i+1], s[i+2:]
	}
	return s, ""
}

// resolvedKind tells from a lockfile's `resolved` where something was fetched: 0 if it is empty, two kinds for a git
// host's archive of a repository.
func resolvedKind(resolved string) specKind {
	if resolved == "" {
		return 0
	}
	kind, _ := parseSpec(resolved)
	switch {
	case kind == specRegistry:
		return specFile // a bare word is a path
	case kind == specURL && isGitArchive(resolved):
		return specURL | specGit
	}
	return kind
}

// fromTarball tells name and version from the file name of a registry tarball, such as
// https://host/@scope/name/-/name-1.0.0.tgz; ok is false where it does not have that shape.
// Source: npm/cli, workspaces/arborist/lib/version-from-tgz.js.
func fromTarball(name, address string) (npm.ID, bool) {
	if u, err := url.Parse(address); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		address = u.Path
		if before, after, ok := strings.Cut(address, "/-/"); ok && !strings.Contains(after, "/") {
			name = strings.TrimPrefix(before, "/")
			if i := strings.LastIndex(name, "/@"); i >= 0 {
				name = name[i+1:]
			} else if !strings.HasPrefix(name, "@") {
				name = path.Base(name)
			}
		}
	}
	base, ok := strings.CutSuffix(path.Base(address), ".tgz")
	if !ok {
		return npm.ID{}, false
	}
	version, ok := strings.CutPrefix(base, path.Base(name)+"-")
	if !ok || npm.CheckName(name) != nil || npm.CheckVersion(version) != nil {
		return npm.ID{}, false
	}
	return npm.ID{Name: name, Version: version}, true
}
