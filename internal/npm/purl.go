package npm

import (
	"errors"
	"fmt"
	"strings"
)

// maxPURLLength bounds a package URL; qualifiers may hold whole URLs.
const maxPURLLength = 16 << 10

// PURL returns the package URL as npm prints it and as attestations name their subject, such as
// "pkg:npm/%40acme/widget@1.2.3+build": the "@" of a scope becomes "%40", and nothing else is escaped.
// Source: npm-package-arg, toPurl.
func (id ID) PURL() string {
	name := id.Name
	if strings.HasPrefix(name, "@") {
		name = "%40" + name[1:]
	}
	return "pkg:npm/" + name + "@" + id.Version
}

// PURLParts is an npm package URL taken apart, everything percent-decoded.
type PURLParts struct {
	ID         ID                // the name is valid; the version may be "" or no version at all
	Qualifiers map[string]string // keys in lower case; nil if there are none
	Subpath    string            // after "#", without outer slashes
}

// String returns the canonical form of what was parsed, qualifiers sorted by key.
func (p PURLParts) String() string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(p.ID.PURL(), "@"+p.ID.Version))
	if p.ID.Version != "" {
		b.WriteString("@" + escapePURL(p.ID.Version, "+"))
	}
	separator := "?"
	for _, key := range sortedKeys(p.Qualifiers) {
		b.WriteString(separator + key + "=" + escapePURL(p.Qualifiers[key], "/:"))
		separator = "&"
	}
	if p.Subpath != "" {
		b.WriteString("#" + escapePURL(p.Subpath, "/"))
	}
	return b.String()
}

// ParsePURL reads the package URL of one version in any spelling that [ParsePURLParts] takes. Qualifiers
// and a subpath are errors: pkg:npm/x@1.0.0?vcs_url=… names something that came from git and not version
// 1.0.0 of the registry's x.
func ParsePURL(s string) (ID, error) {
	p, err := ParsePURLParts(s)
	if err != nil {
		return ID{}, err
	}
	if len(p.Qualifiers) > 0 || p.Subpath != "" {
		return ID{}, fmt.Errorf("package URL %s: has qualifiers or a subpath", quoteShort(s))
	}
	if err := CheckVersion(p.ID.Version); err != nil {
		return ID{}, fmt.Errorf("package URL %s: %w", quoteShort(s), err)
	}
	return p.ID, nil
}

// ParsePURLParts reads an npm package URL as other tools write them: the scope's "@" bare or as %40, its
// slash bare or as %2f, hex digits of either case, "pkg://npm/…", qualifiers such as vcs_url and
// download_url, a subpath, no version. A "+" stays a "+": this is no form encoding. Letter case of the
// name is kept, because names are case-sensitive. Other types than npm are an error.
// Source: ECMA-427 (package-url specification), parsing; its type definition for npm.
func ParsePURLParts(s string) (PURLParts, error) {
	p, err := parsePURL(s)
	if err != nil {
		return PURLParts{}, fmt.Errorf("package URL %s: %w", quoteShort(s), err)
	}
	return p, nil
}

func parsePURL(s string) (PURLParts, error) {
	var p PURLParts
	if len(s) > maxPURLLength {
		return p, fmt.Errorf("is longer than %d characters", maxPURLLength)
	}
	rest := s
	if i := strings.LastIndexByte(rest, '#'); i >= 0 {
		subpath, err := unescapePURL(rest[i+1:])
		if err != nil {
			return p, err
		}
		rest, p.Subpath = rest[:i], strings.Trim(subpath, "/")
	}
	// Neither name nor version can hold a "?", so the first one starts the qualifiers, even where a
	// careless tool left a second one unescaped inside them.
	rest, query, _ := strings.Cut(rest, "?")
	var err error
	if p.Qualifiers, err = parseQualifiers(query); err != nil {
		return p, err
	}
	scheme, rest, ok := strings.Cut(rest, ":")
	if !ok || !strings.EqualFold(scheme, "pkg") {
		return p, errors.New(`does not start with "pkg:"`)
	}
	kind, rest, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok || !strings.EqualFold(kind, "npm") {
		return p, errors.New("is not of type npm")
	}
	name, version := rest, ""
	// An "@" at the very start belongs to an unescaped scope.
	if i := strings.LastIndexByte(rest, '@'); i > 0 {
		name, version = rest[:i], rest[i+1:]
		if version == "" {
			return p, errors.New("has an @ without a version")
		}
	}
	if p.ID.Name, err = unescapePURL(name); err != nil {
		return p, err
	}
	if err := CheckName(p.ID.Name); err != nil {
		return p, err
	}
	if p.ID.Version, err = unescapePURL(version); err != nil {
		return p, err
	}
	return p, nil
}

func parseQualifiers(query string) (map[string]string, error) {
	if query == "" {
		return nil, nil
	}
	qualifiers := make(map[string]string)
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key = strings.ToLower(key)
		if key == "" {
			return nil, errors.New("has a qualifier without a key")
		}
		for i := 0; i < len(key); i++ {
			if !isAlphanumeric(key[i]) && !strings.ContainsRune(".-_", rune(key[i])) {
				return nil, errors.New("has a qualifier with a malformed key")
			}
		}
		value, err := unescapePURL(value)
		if err != nil {
			return nil, err
		}
		if value == "" {
			continue // the specification: the same as no qualifier
		}
		if _, twice := qualifiers[key]; twice {
			return nil, fmt.Errorf("has the qualifier %q twice", key)
		}
		qualifiers[key] = value
	}
	if len(qualifiers) == 0 {
		return nil, nil
	}
	return qualifiers, nil
}

// unescapePURL decodes percent escapes once and refuses control characters, which have no place in any part.
func unescapePURL(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", errors.New("has a malformed percent escape")
			}
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		if c < 0x20 || c == 0x7f {
			return "", errors.New("has a control character")
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// escapePURL escapes all but the unreserved characters of RFC 3986 and those in keep.
func escapePURL(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; isAlphanumeric(c) || strings.IndexByte("-._~", c) >= 0 || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
