package npm

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// maxVersionLength is node-semver's MAX_LENGTH.
const maxVersionLength = 256

// maxSafeInteger is JavaScript's: node-semver refuses a larger major, minor or patch number.
const maxSafeInteger = "9007199254740991"

// CheckVersion reports what is wrong with a version, nil if it is a version of semver.org 2.0.0 as
// node-semver reads it strictly, such as "1.2.3-rc.1+build.5". A leading "v" or "=", white space, more
// than 256 characters and numbers beyond 2⁵³−1 are refused.
func CheckVersion(version string) error {
	if _, err := parseVersion(version); err != nil {
		return fmt.Errorf("version %s: %w", quoteShort(version), err)
	}
	return nil
}

// semver holds a version's parts as they were written. Numbers stay text: without leading zeros they
// compare by length, then by digits, at any size.
type semver struct {
	core       [3]string
	prerelease []string // nil for a release
}

func parseVersion(s string) (semver, error) {
	var v semver
	if len(s) > maxVersionLength {
		return v, fmt.Errorf("is longer than %d characters", maxVersionLength)
	}
	s, build, hasBuild := strings.Cut(s, "+")
	core, prerelease, hasPrerelease := strings.Cut(s, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 {
		return v, errors.New("is not MAJOR.MINOR.PATCH")
	}
	for i, n := range numbers {
		switch {
		case !isNumeric(n):
			return v, errors.New("is not MAJOR.MINOR.PATCH")
		case len(n) > 1 && n[0] == '0':
			return v, errors.New("has a number with a leading zero")
		case compareNumeric(n, maxSafeInteger) > 0:
			return v, errors.New("has a number beyond 2^53-1")
		}
		v.core[i] = n
	}
	if hasPrerelease {
		v.prerelease = strings.Split(prerelease, ".")
		for _, id := range v.prerelease {
			if !isIdentifier(id) {
				return v, errors.New("has a malformed prerelease")
			}
			if isNumeric(id) && len(id) > 1 && id[0] == '0' {
				return v, errors.New("has a number with a leading zero")
			}
		}
	}
	if hasBuild {
		for id := range strings.SplitSeq(build, ".") {
			if !isIdentifier(id) {
				return v, errors.New("has malformed build metadata")
			}
		}
	}
	return v, nil
}

func isNumeric(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isIdentifier(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// compareNumeric compares two numbers without leading zeros.
func compareNumeric(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// CompareVersions orders two versions by semver precedence: negative if a comes before b, 0 if neither
// does, which build metadata never decides. Numbers compare exactly at any size (node-semver rounds
// prerelease numbers beyond 2⁵³). Text that is no version comes before every version, and is
// ordered among itself by its bytes, so that sorting is always well defined.
// Source: semver.org 2.0.0, section 11.
func CompareVersions(a, b string) int {
	va, errA := parseVersion(a)
	vb, errB := parseVersion(b)
	switch {
	case errA != nil && errB != nil:
		return cmp.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return compareParsed(&va, &vb)
}

// compareParsed orders two versions by semver precedence.
func compareParsed(va, vb *semver) int {
	for i := range va.core {
		if c := compareNumeric(va.core[i], vb.core[i]); c != 0 {
			return c
		}
	}
	pa, pb := va.prerelease, vb.prerelease
	switch {
	case pa == nil && pb == nil:
		return 0
	case pa == nil:
		return 1
	case pb == nil:
		return -1
	}
	for i := range min(len(pa), len(pb)) {
		na, nb := isNumeric(pa[i]), isNumeric(pb[i])
		c := 0
		switch {
		case na && nb:
			c = compareNumeric(pa[i], pb[i])
		case na:
			c = -1
		case nb:
			c = 1
		default:
			c = cmp.Compare(pa[i], pb[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(pa), len(pb))
}

// ReleaseLine returns the line of releases a version belongs to, within which semver promises
// compatibility: the major number ("1"), for 0.x the minor too ("0.3"). It is "" for text that is no version.
func ReleaseLine(version string) string {
	v, err := parseVersion(version)
	if err != nil {
		return ""
	}
	if v.core[0] == "0" {
		return "0." + v.core[1]
	}
	return v.core[0]
}

// IsPrerelease reports whether a version has a prerelease part, such as "1.0.0-rc.1".
// It is false for text that is no version.
func IsPrerelease(version string) bool {
	v, err := parseVersion(version)
	return err == nil && v.prerelease != nil
}
