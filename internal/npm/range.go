package npm

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of a range, well above what any advisory has.
const (
	maxRange        = 16 << 10 // bytes
	maxAlternatives = 1000
	maxComparators  = 1000 // of one alternative
)

// A Range is a set of versions, as node-semver reads one: alternatives joined by "||", of which any has to hold, each of
// comparators that all have to. The zero value holds no version.
type Range struct {
	text         string
	alternatives [][]comparator
}

// A comparator is one bound. An operator of "" holds for the version itself only.
type comparator struct {
	op string // "<", "<=", ">", ">=" or "="
	v  semver
}

// ParseRange reads a range: versions, comparators such as >=1.2.3, x-ranges (1.x, 1.2, *), hyphen ranges, ~ and ^. What
// node-semver takes only in its loose mode (leading zeros, prereleases without a hyphen) is an error.
// Source: github.com/npm/node-semver, README and classes/range.js, with includePrerelease, as npm audit reads the
// ranges of advisories (@npmcli/metavuln-calculator, lib/advisory.js).
func ParseRange(s string) (Range, error) {
	r := Range{text: s}
	if len(s) > maxRange {
		return r, fmt.Errorf("range %s: is longer than %d bytes", quoteShort(s), maxRange)
	}
	for alternative := range strings.SplitSeq(s, "||") {
		if len(r.alternatives) == maxAlternatives {
			return Range{text: s}, fmt.Errorf("range %s: has more than %d alternatives", quoteShort(s), maxAlternatives)
		}
		comparators, err := parseAlternative(strings.Fields(alternative))
		if err != nil {
			return Range{text: s}, fmt.Errorf("range %s: %w", quoteShort(s), err)
		}
		r.alternatives = append(r.alternatives, comparators)
	}
	return r, nil
}

// String returns the range as it was written.
func (r Range) String() string { return r.text }

// Contains reports whether a version is in the range. Prereleases are versions like any other: an advisory that names
// everything below 2.0.0 names 2.0.0-rc.1 too. Text that is no version is in no range.
func (r Range) Contains(version string) bool {
	v, err := parseVersion(version)
	if err != nil {
		return false
	}
	for _, alternative := range r.alternatives {
		holds := true
		for i := range alternative {
			if !alternative[i].holds(&v) {
				holds = false
				break
			}
		}
		if holds {
			return true
		}
	}
	return false
}

func (c *comparator) holds(v *semver) bool {
	switch order := compareParsed(v, &c.v); c.op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	default:
		return order == 0
	}
}

// parseAlternative reads the words between two "||".
func parseAlternative(words []string) ([]comparator, error) {
	if len(words) == 3 && words[1] == "-" {
		return parseHyphen(words[0], words[2])
	}
	var list []comparator
	for i := 0; i < len(words); i++ {
		op, rest := cutOperator(words[i])
		for rest == "" && op != "" && i+1 < len(words) { // "> 1.2.3"
			i++
			rest = words[i]
		}
		if rest == "" {
			return nil, fmt.Errorf("%s compares with nothing", quoteShort(words[i]))
		}
		p, err := parsePartial(rest)
		if err != nil {
			return nil, err
		}
		more, err := p.comparators(op)
		if err != nil {
			return nil, err
		}
		if list = append(list, more...); len(list) > maxComparators {
			return nil, fmt.Errorf("has more than %d comparators in a row", maxComparators)
		}
	}
	return list, nil
}

func cutOperator(s string) (op, rest string) {
	for _, op := range []string{"<=", ">=", "~>", "<", ">", "=", "~", "^"} {
		if rest, ok := strings.CutPrefix(s, op); ok {
			return op, rest
		}
	}
	return "", s
}

// A partial is a version of which the end may be left out, or stand as x, X or *.
type partial struct {
	core       [3]string // "" for what is left open
	prerelease []string
	known      int  // how many of core are known, counted from the front
	disordered bool // a number follows what is left open, which node-semver overlooks after ~, ^ and in hyphen ranges
}

func parsePartial(s string) (partial, error) {
	var p partial
	fail := func(why string) (partial, error) { return p, fmt.Errorf("%s %s", quoteShort(s), why) }
	core := strings.TrimPrefix(s, "v")
	core, build, hasBuild := strings.Cut(core, "+")
	core, prerelease, hasPrerelease := strings.Cut(core, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) > 3 {
		return fail("is no version")
	}
	open := false
	for i, n := range numbers {
		switch {
		case n == "x" || n == "X" || n == "*":
			open = true
		case !isNumeric(n) || len(n) > 1 && n[0] == '0' || compareNumeric(n, maxSafeInteger) > 0:
			return fail("is no version")
		case open:
			p.disordered = true
		default:
			p.core[i] = n
			p.known++
		}
	}
	if (hasPrerelease || hasBuild) && len(numbers) < 3 {
		return fail("is no version")
	}
	for _, list := range []struct {
		text string
		has  bool
		pre  bool
	}{{prerelease, hasPrerelease, true}, {build, hasBuild, false}} {
		if !list.has {
			continue
		}
		ids := strings.Split(list.text, ".")
		for _, id := range ids {
			if !isIdentifier(id) || list.pre && isNumeric(id) && len(id) > 1 && id[0] == '0' {
				return fail("is no version")
			}
		}
		if list.pre {
			p.prerelease = ids
		}
	}
	if len(s) > maxVersionLength {
		return fail("is too long for a version")
	}
	return p, nil
}

// lowest is the least version that the partial can stand for, prereleases among them where something is left open.
func (p *partial) lowest() semver {
	v := semver{core: p.core, prerelease: p.prerelease}
	for i := p.known; i < 3; i++ {
		v.core[i] = "0"
	}
	if p.known < 3 {
		v.prerelease = []string{"0"}
	}
	return v
}

var errTooLarge = errors.New("has a number beyond 2^53-1")

// after is the least version, prereleases among them, whose part i (0 for major) is one larger.
func (p *partial) after(i int) (semver, error) {
	v := semver{core: [3]string{"0", "0", "0"}, prerelease: []string{"0"}}
	copy(v.core[:i], p.core[:i])
	v.core[i] = increment(p.core[i])
	if compareNumeric(v.core[i], maxSafeInteger) > 0 {
		return v, errTooLarge
	}
	return v, nil
}

// increment adds one to a number without leading zeros.
func increment(n string) string {
	b := []byte(n)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < '9' {
			b[i]++
			return string(b)
		}
		b[i] = '0'
	}
	return "1" + string(b)
}

// nothing holds for no version.
var nothing = []comparator{{"<", semver{core: [3]string{"0", "0", "0"}, prerelease: []string{"0"}}}}

// comparators writes an operator and a partial as bounds. No bound holds for every version.
func (p *partial) comparators(op string) ([]comparator, error) {
	if p.disordered && op != "~" && op != "~>" && op != "^" {
		return nil, errors.New("a number follows what is left open")
	}
	if p.known == 0 {
		if op == "<" || op == ">" {
			return nothing, nil
		}
		return nil, nil
	}
	last := p.known - 1
	between := func(i int) ([]comparator, error) {
		end, err := p.after(i)
		return []comparator{{">=", p.lowest()}, {"<", end}}, err
	}
	switch op {
	case "~", "~>":
		return between(min(last, 1))
	case "^":
		// Up to the first number that is not zero, of those that are known.
		for i := range last {
			if p.core[i] != "0" {
				return between(i)
			}
		}
		return between(last)
	case "", "=":
		if p.known == 3 {
			return []comparator{{"=", p.lowest()}}, nil
		}
		return between(last)
	case "<=", ">":
		if p.known == 3 {
			return []comparator{{op, p.lowest()}}, nil
		}
		end, err := p.after(last)
		if op == ">" {
			return []comparator{{">=", end}}, err
		}
		return []comparator{{"<", end}}, err
	default: // "<" and ">="
		return []comparator{{op, p.lowest()}}, nil
	}
}

// parseHyphen reads "from - to", both ends inclusive.
func parseHyphen(from, to string) ([]comparator, error) {
	a, err := parsePartial(from)
	if err != nil {
		return nil, err
	}
	b, err := parsePartial(to)
	if err != nil {
		return nil, err
	}
	var list []comparator
	if a.known > 0 {
		low := a.lowest()
		if low.prerelease == nil {
			low.prerelease = []string{"0"}
		}
		list = append(list, comparator{">=", low})
	}
	switch {
	case b.known == 0:
	case b.prerelease != nil:
		list = append(list, comparator{"<=", b.lowest()})
	default:
		end, err := b.after(b.known - 1)
		if err != nil {
			return nil, err
		}
		list = append(list, comparator{"<", end})
	}
	return list, nil
}
