package npm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxRepositoryLength bounds a repository's text, and maxRepositoryJSON the JSON value around it.
const (
	maxRepositoryLength = 4 << 10
	maxRepositoryJSON   = 64 << 10
)

// A Repository says where a package's source is kept, in one spelling for all the ways to write it.
// Two repositories are compared with [Repository.Match]; Directory never takes part. The zero
// Repository names nothing and matches nothing.
type Repository struct {
	Host      string // lower case, with a port if it is not the default: "github.com", "git.example.com:8443"
	Path      string // no outer slashes, no ".git", letter case as written: "owner/repo", "group/subgroup/project"
	Directory string // the package's place in a monorepo as package.json states it; unchecked text, mostly ""
}

// A hostedSite is a public git host whose URLs npm understands beyond plain ones.
type hostedSite struct {
	host     string
	shortcut string // "github" in "github:owner/repo"

	// ignoresCase says that the site takes o/r and O/R for one repository.
	ignoresCase bool
	// repositoryPath cuts what follows the repository off a URL's path (such as /tree/main/…), and
	// returns nil if the segments name no repository.
	repositoryPath func(segments []string) []string
}

// hostedSites are those of hosted-git-info 9.
var hostedSites = []hostedSite{
	{"github.com", "github", true, ownerAndName},
	{"gitlab.com", "gitlab", true, groupsAndName},
	{"bitbucket.org", "bitbucket", true, ownerAndName},
	{"gist.github.com", "gist", true, gistID},
	{"git.sr.ht", "sourcehut", false, ownerAndName},
}

// ownerAndName keeps the first two segments: all of owner/repo/tree/main/packages/x is in owner/repo.
func ownerAndName(segments []string) []string {
	if len(segments) < 2 {
		return nil
	}
	return segments[:2]
}

// groupsAndName keeps everything before GitLab's own routes. No project or group can be called "-",
// "tree" or "blob" there (GitLab documentation, reserved project and group names), so nothing real is cut off.
func groupsAndName(segments []string) []string {
	for i, s := range segments {
		if i >= 2 && (s == "-" || s == "tree" || s == "blob") {
			segments = segments[:i]
			break
		}
	}
	if len(segments) < 2 {
		return nil
	}
	return segments
}

// gistID keeps the id alone, because gist.github.com/user/id and gist.github.com/id are one gist.
func gistID(segments []string) []string {
	switch len(segments) {
	case 0:
		return nil
	case 1:
		return segments
	}
	return segments[1:2]
}

func siteByHost(host string) *hostedSite {
	for i := range hostedSites {
		if hostedSites[i].host == host {
			return &hostedSites[i]
		}
	}
	return nil
}

func siteByShortcut(shortcut string) *hostedSite {
	for i := range hostedSites {
		if hostedSites[i].shortcut == shortcut {
			return &hostedSites[i]
		}
	}
	return nil
}

// defaultPorts are the ports that a URL of the scheme need not state.
var defaultPorts = map[string]string{"http": "80", "https": "443", "ssh": "22", "git": "9418"}

// RepositoryFromManifest reads the JSON value of package.json's repository: a string, or an object with
// url and directory. It reports false without an error where the package claims no repository: no bytes,
// null, "", or an object without url. Any other shape, and text that is no repository, is an error.
func RepositoryFromManifest(rawJSON []byte) (Repository, bool, error) {
	raw := bytes.TrimSpace(rawJSON)
	if len(raw) > maxRepositoryJSON {
		return Repository{}, false, fmt.Errorf("repository: is longer than %d bytes", maxRepositoryJSON)
	}
	if len(raw) == 0 || string(raw) == "null" {
		return Repository{}, false, nil
	}
	var field, directory string
	switch raw[0] {
	case '"':
		if err := json.Unmarshal(raw, &field); err != nil {
			return Repository{}, false, fmt.Errorf("repository: %w", err)
		}
	case '{':
		// Into a map, because a struct would take "URL" for "url" too.
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil {
			return Repository{}, false, fmt.Errorf("repository: %w", err)
		}
		if u := object["url"]; u != nil && string(u) != "null" {
			if err := json.Unmarshal(u, &field); err != nil {
				return Repository{}, false, errors.New("repository: url is not a string")
			}
		}
		if d := object["directory"]; d != nil && json.Unmarshal(d, &directory) != nil {
			directory = "" // informative only
		}
	default:
		return Repository{}, false, errors.New("repository: is neither a string nor an object")
	}
	if strings.TrimFunc(field, isSpaceJS) == "" {
		return Repository{}, false, nil
	}
	r, err := ParseRepository(field, directory)
	if err != nil {
		return Repository{}, false, err
	}
	return r, true, nil
}

// ParseRepository reads package.json's repository in every spelling npm understands:
//
//   - shortcuts: github:o/r, gitlab:g/s/p, bitbucket:o/r, gist:ID, sourcehut:~u/r, and o/r for GitHub
//   - URLs with http, https, git and ssh, also as git+https and so on
//   - ssh in scp's form: git@github.com:o/r.git
//   - a bare github.com/o/r and the like for the hosts that have a shortcut
//
// White space around it, user and password, "www." of a known host, default ports, one ".git", outer
// slashes, query and fragment go; so does what follows the repository in a URL of a known host, such as
// /tree/main/packages/x. Other hosts are kept as plain URLs with their whole path. Scheme, shortcut and host are
// taken in any letter case, the path keeps its own.
//
// What could be read in two ways is an error, never a guess: a backslash, white space or control
// character inside, a host that is not plain ASCII, percent escapes in the path (a harmless one may stand
// behind the repository's name, where it is cut off), the segments "." and "..", an empty owner or name, characters that the
// host allows in no name.
// Source: hosted-git-info 9, from-url and parse-url, which is laxer in these last respects.
func ParseRepository(field string, directory string) (Repository, error) {
	r, err := parseRepository(strings.TrimFunc(field, isSpaceJS))
	if err != nil {
		return Repository{}, fmt.Errorf("repository %s: %w", quoteShort(field), err)
	}
	r.Directory = directory
	return r, nil
}

func parseRepository(s string) (Repository, error) {
	if err := checkRepositoryText(s); err != nil {
		return Repository{}, err
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok && isScheme(scheme) {
		return parseRepositoryURL(strings.ToLower(scheme), rest)
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	if prefix, rest, ok := strings.Cut(s, ":"); ok {
		if site := siteByShortcut(strings.ToLower(prefix)); site != nil {
			return parseShortcut(site, rest)
		}
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		// In git@github.com:o/r@evil.example:x/y git and npm find two different hosts.
		if i == 0 || strings.ContainsAny(s[:i], "@/") {
			return Repository{}, errors.New("has an @ that follows no user")
		}
		return parseSCP(s[i+1:])
	}
	if first, rest, ok := strings.Cut(s, "/"); ok {
		if host := cutWWW(strings.ToLower(first)); siteByHost(host) != nil {
			if !strings.Contains(rest, "/") {
				return Repository{}, errors.New("has a host where owner/name has its owner")
			}
			return newRepository(host, "", rest)
		}
	}
	if strings.Contains(s, ":") {
		return Repository{}, errors.New("is of no known kind")
	}
	if !strings.Contains(s, "/") || strings.HasPrefix(s, ".") {
		return Repository{}, errors.New("is neither a URL nor owner/name")
	}
	return parseShortcut(&hostedSites[0], s)
}

// ParseRepositoryURI reads the repository of a certificate or statement: https://HOST/PATH, also with
// "git+" before it, ".git" after it, and a ref from the first "@" of the path on, which is cut
// off (see [CutRef]). These URIs are machine-written, so anything else is an error: other schemes, user
// and password, query, fragment, outer slashes, and more than owner/name where the host has no deeper path.
// Source: Fulcio's OID documentation (1.3.6.1.4.1.57264.1.12), SLSA provenance (resolvedDependencies, configSource).
func ParseRepositoryURI(uri string) (Repository, error) {
	r, err := parseRepositoryURI(uri)
	if err != nil {
		return Repository{}, fmt.Errorf("repository URI %s: %w", quoteShort(uri), err)
	}
	return r, nil
}

func parseRepositoryURI(uri string) (Repository, error) {
	if err := checkRepositoryText(uri); err != nil {
		return Repository{}, err
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(uri, "git+"), "https://")
	if !ok {
		return Repository{}, errors.New("is not https")
	}
	authority, path, ok := strings.Cut(rest, "/")
	if !ok {
		return Repository{}, errors.New("has no path")
	}
	if strings.ContainsAny(authority, "@?#") {
		return Repository{}, errors.New("has more than a host before its path")
	}
	path, _, _ = strings.Cut(path, "@")
	if strings.ContainsAny(path, "?#") {
		return Repository{}, errors.New("has a query or fragment")
	}
	if path == "" || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		return Repository{}, errors.New("has an empty path segment")
	}
	host, port, err := splitHost("https", authority)
	if err != nil {
		return Repository{}, err
	}
	r, err := newRepository(host, port, path)
	if err != nil {
		return Repository{}, err
	}
	if r.Path != strings.TrimSuffix(path, ".git") || cutWWW(host) != host {
		return Repository{}, errors.New("names more than a repository")
	}
	return r, nil
}

// CutRef cuts the ref off a URI such as git+https://github.com/o/r@refs/heads/main: it returns what
// stands before and after the first "@" of the path. An "@" before the path belongs to a user and cuts
// nothing. ok is false, and base the whole URI, where there is none.
func CutRef(uri string) (base, ref string, ok bool) {
	start := 0
	if i := strings.Index(uri, "://"); i >= 0 {
		start = i + len("://")
	}
	slash := strings.IndexByte(uri[start:], '/')
	if slash < 0 {
		return uri, "", false
	}
	at := strings.IndexByte(uri[start+slash:], '@')
	if at < 0 {
		return uri, "", false
	}
	i := start + slash + at
	return uri[:i], uri[i+1:], true
}

// String returns the repository's web address, such as "https://github.com/owner/repo", and "" for the zero Repository.
func (r Repository) String() string {
	if r.Host == "" {
		return ""
	}
	return "https://" + r.Host + "/" + r.Path
}

// Match compares two repositories. equal says that host and path are the same, byte for byte.
// onlyCaseDiffers says that they are not, but name one repository all the same, because the host
// (GitHub, GitLab.com, Bitbucket) ignores the case of letters. At most one of both is true; at hosts that
// are not known to ignore case, a difference in case is a difference.
func (r Repository) Match(other Repository) (equal, onlyCaseDiffers bool) {
	if r.Host == "" || r.Host != other.Host {
		return false, false
	}
	if r.Path == other.Path {
		return r.Path != "", false
	}
	site := siteByHost(r.Host)
	return false, site != nil && site.ignoresCase && lowerASCII(r.Path) == lowerASCII(other.Path)
}

// lowerASCII lowers A to Z only: Unicode's folding would make the Kelvin sign a k.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func checkRepositoryText(s string) error {
	if len(s) > maxRepositoryLength {
		return fmt.Errorf("is longer than %d characters", maxRepositoryLength)
	}
	for _, r := range s {
		// Browsers and git disagree about what a backslash or a stray line break means in a URL.
		if r < 0x20 || r == 0x7f || r == '\\' || isSpaceJS(r) {
			return errors.New("has white space, a control character or a backslash")
		}
	}
	return nil
}

// isScheme reports whether s is a URL scheme. Source: RFC 3986, section 3.1.
func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && (i == 0 || strings.IndexByte("+-.", s[i]) < 0) {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}

func parseRepositoryURL(scheme, rest string) (Repository, error) {
	scheme = strings.TrimPrefix(scheme, "git+")
	if defaultPorts[scheme] == "" {
		return Repository{}, fmt.Errorf("has the scheme %q", scheme)
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	authority, path, _ := strings.Cut(rest, "/")
	// The host is what follows the last "@": https://github.com@evil.example/ goes to evil.example.
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	// git://github.com:owner/repo.git mixes URL and scp form; old packages have it, and hosted-git-info takes it.
	if host, after, ok := strings.Cut(authority, ":"); ok && after != "" && !isNumeric(after) && !strings.HasPrefix(host, "[") {
		authority, path = host, after+"/"+path
	}
	host, port, err := splitHost(scheme, authority)
	if err != nil {
		return Repository{}, err
	}
	return newRepository(host, port, path)
}

// parseSCP reads HOST:PATH and HOST/PATH, what follows "git@" in scp's form.
func parseSCP(s string) (Repository, error) {
	i := strings.IndexAny(s, ":/")
	if i < 0 {
		return Repository{}, errors.New("has no path")
	}
	host, port, err := splitHost("ssh", s[:i])
	if err != nil {
		return Repository{}, err
	}
	return newRepository(host, port, s[i+1:])
}

func parseShortcut(site *hostedSite, path string) (Repository, error) {
	path = strings.TrimPrefix(path, "/")
	r, err := newRepository(site.host, "", path)
	if err != nil {
		return Repository{}, err
	}
	// A shortcut holds the repository and nothing behind it; gist:user/id is the one form with more.
	if want := strings.TrimSuffix(path, ".git"); r.Path != want && !(site.shortcut == "gist" && strings.HasSuffix(want, "/"+r.Path)) {
		return Repository{}, errors.New("names more than a repository")
	}
	return r, nil
}

// splitHost splits and checks HOST or HOST:PORT. The port is "" if it is the scheme's default, or
// https's, under which the host's web address is known.
func splitHost(scheme, authority string) (host, port string, err error) {
	host = strings.ToLower(authority)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], host[i+1:]
		if port != "" {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
				return "", "", errors.New("has a malformed port")
			}
		}
	}
	if port == defaultPorts[scheme] || port == defaultPorts["https"] {
		port = ""
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		// An IPv6 address: never a trusted host, so its digits need no further look.
		if strings.Trim(host, "[]0123456789abcdef:.") != "" {
			return "", "", errors.New("has a malformed host")
		}
		return host, port, nil
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" {
			return "", "", errors.New("has a malformed host")
		}
		for i := 0; i < len(label); i++ {
			if !isAlphanumeric(label[i]) && label[i] != '-' && label[i] != '_' {
				return "", "", errors.New("has a host that is not plain ASCII")
			}
		}
	}
	return host, port, nil
}

// cutWWW drops "www." before a known host.
func cutWWW(host string) string {
	if bare := strings.TrimPrefix(host, "www."); siteByHost(bare) != nil {
		return bare
	}
	return host
}

// newRepository builds the repository from a checked host and the path of a URL, without its first slash.
func newRepository(host, port, path string) (Repository, error) {
	segments := strings.Split(strings.TrimRight(path, "/"), "/")
	for _, s := range segments {
		if isDotSegment(s) {
			return Repository{}, errors.New(`has a "." or ".." in its path`)
		}
	}
	// Another port is another server, whatever listens there: such a host is compared as a plain URL.
	kept, allowed := segments, "-._~!$&'()*+,;=:@"
	if port != "" {
		host += ":" + port
	} else {
		host = cutWWW(host)
	}
	if site := siteByHost(host); site != nil {
		allowed = "-._~"
		if kept = site.repositoryPath(segments); kept == nil {
			return Repository{}, errors.New("has no owner or no name")
		}
		for _, s := range segments[len(kept):] {
			if !isHarmlessTail(s) {
				return Repository{}, errors.New("has an ambiguous escape in its path")
			}
		}
	}
	kept = slices.Clone(kept)
	last := &kept[len(kept)-1]
	*last = strings.TrimSuffix(*last, ".git")
	if strings.HasSuffix(*last, ".git") {
		return Repository{}, errors.New(`ends in ".git" twice`)
	}
	for _, s := range kept {
		if s == "" || s == "." || s == ".." {
			return Repository{}, errors.New("has an empty owner or name")
		}
		if !isPlainSegment(s, allowed) {
			return Repository{}, errors.New("has a character in its path that needs decoding or that no name holds")
		}
	}
	return Repository{Host: host, Path: strings.Join(kept, "/")}, nil
}

func isPlainSegment(s, others string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}

// isDotSegment reports whether a URL parser would take the segment for "." or "..".
// Source: WHATWG URL Standard, single-dot and double-dot URL path segments.
func isDotSegment(s string) bool {
	switch strings.ReplaceAll(strings.ToLower(s), "%2e", ".") {
	case ".", "..":
		return true
	}
	return false
}

// isHarmlessTail reports whether a segment behind the repository's name can be dropped: it decodes to
// nothing that could change the path before it.
func isHarmlessTail(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return false
		}
		if c := unhex(s[i+1])<<4 | unhex(s[i+2]); c < 0x20 || c == 0x7f || strings.IndexByte(`./\%`, c) >= 0 {
			return false
		}
	}
	return true
}
