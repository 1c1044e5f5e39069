package policy

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"assay/internal/npm"
)

// A Pattern names packages: "react", "@babel/*", "left-pad@1.3.0", "react@18.*", or a purl such as
// "pkg:npm/%40babel/core@7.24.0". A star stands for any characters but a slash, two for any at all, and one
// by itself for every package.
// Letter case counts, as it does to npm.
type Pattern struct {
	Text    string // as written
	name    string
	version string // "" for any
}

// ParsePattern reads a pattern. The error says what is wrong with it: above all a pattern that can match nothing is one,
// since a rule about no package is a rule that is not there.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{Text: s}
	rest := s
	if strings.HasPrefix(s, "pkg:") {
		path, ok := strings.CutPrefix(s, "pkg:npm/")
		plain, err := url.PathUnescape(path)
		if !ok || err != nil || strings.ContainsAny(path, "?#") || strings.HasPrefix(path, "@") {
			return p, fmt.Errorf("%q is not the purl of an npm package, such as pkg:npm/%%40babel/core@7.24.0", s)
		}
		rest = plain
	}
	p.name = rest
	if i := strings.LastIndexByte(rest, '@'); i > 0 {
		p.name, p.version = rest[:i], rest[i+1:]
		if err := checkVersionPattern(p.version); err != nil {
			return p, fmt.Errorf("%q: %w", s, err)
		}
	}
	plain := strings.ReplaceAll(p.name, "*", "a")
	if err := npm.CheckName(plain); err != nil && p.name != "**" && p.name != "*" {
		return p, fmt.Errorf("%q names no package: %w", s, err)
	}
	if strings.Count(s, "*") > maxStars {
		return p, fmt.Errorf("%q has more than %d stars", s, maxStars)
	}
	return p, nil
}

// checkVersionPattern refuses what no version can match: ranges, tags, and versions that are not written out.
func checkVersionPattern(v string) error {
	if v == "" {
		return errors.New("it ends in @ and names no version")
	}
	if !strings.Contains(v, "*") {
		if npm.CheckVersion(v) != nil {
			return fmt.Errorf("%q is neither one version, such as 1.2.3, nor a pattern of versions, such as 1.*; ranges and tags are not known", v)
		}
		return nil
	}
	for i := range len(v) {
		c := v[i]
		digit, letter := c >= '0' && c <= '9', c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if c != '*' && !digit && (i == 0 || !letter && c != '.' && c != '-' && c != '+') {
			return fmt.Errorf("%q is not a pattern of versions, such as 1.*", v)
		}
	}
	return nil
}

// maxStars bounds what one pattern can cost.
const maxStars = 8

// Match reports whether the pattern names the package. version may be "" to ask for the name alone.
func (p Pattern) Match(name, version string) bool {
	return glob(p.name, name) && (p.version == "" || version == "" || glob(p.version, version))
}

// Exact reports whether the pattern names exactly one version of one package.
func (p Pattern) Exact() bool { return p.version != "" && !strings.Contains(p.Text, "*") }

func anyMatches(patterns []Pattern, name, version string) bool {
	for _, p := range patterns {
		if p.Match(name, version) {
			return true
		}
	}
	return false
}

// glob matches a text against a pattern with stars, in time linear in the product of their lengths.
func glob(pattern, s string) bool {
	i := strings.IndexByte(pattern, '*')
	switch {
	case i < 0:
		return pattern == s
	case !strings.HasPrefix(s, pattern[:i]):
		return false
	case pattern == "*" || pattern == "**":
		return true
	}
	// ends[k]: what has been read of the pattern matches s[:k].
	ends := make([]bool, len(s)+1)
	ends[0] = true
	for j := 0; j < len(pattern); j++ {
		if pattern[j] != '*' {
			for k := len(s); k > 0; k-- {
				ends[k] = ends[k-1] && s[k-1] == pattern[j]
			}
			ends[0] = false
			continue
		}
		any := strings.HasPrefix(pattern[j:], "**")
		if any {
			j++
		}
		for k := 1; k <= len(s); k++ {
			ends[k] = ends[k] || ends[k-1] && (any || s[k-1] != '/')
		}
	}
	return ends[len(s)]
}
