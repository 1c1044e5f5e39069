package inventory

import (
	"net/url"
	"path"
	"strings"

	"assay/internal/npm"
)

// A pnpmKey is the key of an entry in pnpm-lock.yaml taken apart. pnpm calls it a dependency path: what a
// package is, and in parentheses (before version 6 behind an underscore) the peers that it was given.
//
//	version 5  /foo/1.0.0_react@18.0.0          registry.example.com/foo/1.0.0    github.com/o/r/0123abc
//	version 6  /foo@1.0.0(react@18.0.0)         @codeload.github.com/o/r/tar.gz/0123abc
//	version 9  foo@1.0.0(patch_hash=x)(react@18.0.0)   foo@https://…   foo@file:../x   node@runtime:22.0.0
//
// Source: pnpm/pnpm, packages/dependency-path/src/index.ts (deps/path since version 11).
type pnpmKey struct {
	name, version string // of a package from a registry; else name may be "" and version is
	from          string // where it comes from if not from a registry: an address, a path, "runtime:22.0.0"; "" for a registry's
	registry      string // the registry's host, or its prefix with a colon, where the key names one
}

// cutPeers cuts what stands in parentheses at the end of a key.
func cutPeers(key string) (id, peers string) {
	if !strings.HasSuffix(key, ")") {
		return key, ""
	}
	open := 0
	for i := len(key) - 1; i >= 0; i-- {
		switch key[i] {
		case ')':
			open++
		case '(':
			open--
		default:
			if open == 0 {
				return key[:i+1], key[i+1:]
			}
		}
	}
	return key, ""
}

// parsePnpmKey takes apart a key of a lockfile of some major version.
func parsePnpmKey(key string, major int) pnpmKey {
	id, _ := cutPeers(key)
	if major >= 9 {
		name, rest := splitSpec(id)
		if npm.CheckVersion(rest) == nil {
			return pnpmKey{name: name, version: rest}
		}
		if prefix, version, ok := strings.Cut(rest, ":"); ok && !pnpmSchemes[prefix] && npm.CheckVersion(version) == nil {
			return pnpmKey{name: name, version: version, registry: prefix + ":"}
		}
		return pnpmKey{name: name, from: rest}
	}
	if strings.HasPrefix(id, "file:") {
		return pnpmKey{from: id}
	}
	host, rest := "", id
	if !strings.HasPrefix(id, "/") {
		host, rest, _ = strings.Cut(id, "/")
		rest = "/" + rest
	}
	rest = rest[1:]
	name, version := "", ""
	slashes := strings.SplitN(rest, "/", 3)
	if major >= 6 {
		name, version = splitSpec(rest)
	} else if strings.HasPrefix(rest, "@") && len(slashes) == 3 {
		name, version = rest[:len(slashes[0])+1+len(slashes[1])], slashes[2]
	} else if len(slashes) > 1 {
		name, version = slashes[0], rest[len(slashes[0])+1:]
	}
	if major == 5 {
		version, _, _ = strings.Cut(version, "_")
	}
	if npm.CheckName(name) == nil && npm.CheckVersion(version) == nil {
		return pnpmKey{name: name, version: version, registry: host}
	}
	if host == "" {
		return pnpmKey{from: id}
	}
	if id, ok := strings.CutPrefix(id, "@"); ok {
		return pnpmKey{from: "https://" + id}
	}
	if major == 5 {
		id, _, _ = strings.Cut(id, "_")
	}
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return pnpmKey{from: id}
	}
	return pnpmKey{from: "git+https://" + id[:i] + "#" + id[i+1:]}
}

// pnpmSchemes are what a version can begin with, and a registry's prefix cannot.
var pnpmSchemes = map[string]bool{
	"bitbucket": true, "catalog": true, "custom": true, "file": true, "git": true, "github": true, "gitlab": true, "http": true, "https": true,
	"jsr": true, "link": true, "npm": true, "portal": true, "runtime": true, "ssh": true, "workspace": true,
}

// appendPnpmRef appends the key that a dependency's version leads to; nothing is appended for a link.
// Source: as pnpmKey, refToRelative.
func appendPnpmRef(b []byte, name, ref string, major int) []byte {
	if major >= 9 {
		at := strings.IndexByte(ref, '@')
		colon, bracket := strings.IndexByte(ref, ':'), strings.IndexByte(ref, '(')
		if at == 0 || at > 0 && (colon < 0 || at < colon) && (bracket < 0 || at < bracket) {
			return append(b, ref...)
		}
		return append(append(append(b, name...), '@'), ref...)
	}
	bracket := strings.IndexByte(ref, '(')
	if strings.HasPrefix(ref, "file:") || strings.Contains(ref, "/") && (bracket < 0 || strings.Contains(ref[:bracket], "/")) {
		return append(b, ref...)
	}
	b = append(append(b, '/'), name...)
	if major >= 6 {
		b = append(b, '@')
	} else {
		b = append(b, '/')
	}
	return append(b, ref...)
}

// pnpmTarball is where a registry keeps a tarball.
// Source: pnpm/get-npm-tarball-url, src/index.ts.
func pnpmTarball(registry, name, version string) string {
	version, _, _ = strings.Cut(version, "+")
	return strings.TrimSuffix(registry, "/") + "/" + name + "/-/" + path.Base(name) + "-" + version + ".tgz"
}

// jsrSpec turns a specifier for JSR into that of the package on JSR's npm registry.
// Source: pnpm/pnpm, resolving/jsr-specifier-parser/src/index.ts; https://jsr.io/docs/npm-compatibility.
func jsrSpec(name, spec string) (string, bool) {
	rest, ok := strings.CutPrefix(spec, "jsr:")
	if !ok {
		return spec, false
	}
	if strings.HasPrefix(rest, "@") {
		name, rest = splitSpec(rest)
	}
	scope, base, ok := strings.Cut(strings.TrimPrefix(name, "@"), "/")
	if !ok || !strings.HasPrefix(name, "@") {
		return spec, false
	}
	return strings.TrimSuffix("npm:@jsr/"+scope+"__"+base+"@"+rest, "@"), true
}

// isGitArchive reports whether an address is that of an archive which a git host makes of a repository:
// package managers fetch these where a repository is asked for.
// Source: pnpm/pnpm, fetching/pick-fetcher/src/isGitHostedPkgUrl.ts; npm/hosted-git-info, lib/hosts.js.
func isGitArchive(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		return false
	}
	switch strings.ToLower(u.Hostname()) {
	case "codeload.github.com":
		return strings.Count(u.Path, "/") >= 4
	case "gitlab.com", "bitbucket.org":
		return strings.Contains(u.Path, ".tar.gz")
	}
	return false
}

// hostedRepo names the repository of a specifier or address in lower case, "github.com/owner/name", where it is
// on a host that is known; "" else.
func hostedRepo(spec string) string {
	spec, _, _ = strings.Cut(strings.TrimSpace(spec), "#")
	host := ""
	switch scheme, rest, ok := strings.Cut(spec, ":"); {
	case ok && scheme == "github", ok && scheme == "gitlab":
		host, spec = scheme+".com", rest
	case ok && scheme == "bitbucket":
		host, spec = "bitbucket.org", rest
	case strings.Contains(spec, "://"):
		u, err := url.Parse(strings.TrimPrefix(spec, "git+"))
		if err != nil {
			return ""
		}
		host, spec = strings.TrimPrefix(strings.ToLower(u.Hostname()), "www."), u.Path
		if host == "codeload.github.com" {
			host = "github.com"
		}
	case ok && strings.HasSuffix(scheme, "@github.com"):
		host, spec = "github.com", rest
	default:
		if kind, _ := parseSpec(spec); kind != specGit || ok {
			return ""
		}
		host = "github.com"
	}
	switch host {
	case "github.com", "gitlab.com", "bitbucket.org":
	default:
		return ""
	}
	parts := strings.Split(strings.Trim(spec, "/"), "/")
	if len(parts) < 2 || host == "gitlab.com" && (len(parts) > 2 && parts[2] != "-" && parts[2] != "repository" || strings.HasPrefix(spec, "/api/")) {
		return "" // GitLab has groups in groups
	}
	return strings.ToLower(host + "/" + parts[0] + "/" + strings.TrimSuffix(parts[1], ".git"))
}
