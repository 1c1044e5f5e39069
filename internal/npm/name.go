package npm

import (
	"errors"
	"fmt"
	"strings"
)

// maxNameLength is the longest name the registry takes, scope, "@" and "/" included.
const maxNameLength = 214

// An ID is one version of one package, such as {"@acme/widget", "1.2.3"}. Names are compared byte for
// byte: "JSONStream" and "jsonstream" are two packages. The zero ID names nothing.
type ID struct {
	Name    string // with scope, unescaped: "@acme/widget"
	Version string // "1.2.3-rc.1+build"
}

// String returns name@version, such as "@acme/widget@1.2.3".
func (id ID) String() string { return id.Name + "@" + id.Version }

// Check returns the error of [CheckName] or of [CheckVersion].
func (id ID) Check() error {
	if err := CheckName(id.Name); err != nil {
		return err
	}
	return CheckVersion(id.Version)
}

// CheckName reports what is wrong with a package name, nil if npm would install it.
//
// The rules are those of validate-npm-package-name for packages that exist already, so that upper case
// and the characters ~'!()* of old names pass: URL-safe characters only, at most one scope, no leading
// ".", "_" or "-", not "node_modules" or "favicon.ico". Unlike there, a name longer than 214 characters
// is refused too: the registry has none.
func CheckName(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("package name %s: %w", quoteShort(name), err)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > maxNameLength:
		return fmt.Errorf("is longer than %d characters", maxNameLength)
	}
	bare := name
	if scope, rest, ok := strings.Cut(name, "/"); ok {
		if !strings.HasPrefix(scope, "@") || len(scope) == 1 {
			return errors.New("has a slash but no @scope before it")
		}
		if err := checkNameCharacters(scope[1:]); err != nil {
			return err
		}
		// Inside a scope npm refuses a leading period only.
		if strings.HasPrefix(rest, ".") {
			return errors.New("starts with a period")
		}
		bare = rest
	} else {
		switch name[0] {
		case '.', '_', '-':
			return fmt.Errorf("starts with %q", name[:1])
		}
		switch strings.ToLower(name) {
		case "node_modules", "favicon.ico":
			return errors.New("is reserved")
		}
	}
	if bare == "" {
		return errors.New("ends after its scope")
	}
	return checkNameCharacters(bare)
}

// checkNameCharacters allows what JavaScript's encodeURIComponent leaves as it is.
func checkNameCharacters(s string) error {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("-_.!~*'()", rune(c)) {
			return errors.New("has a character that is not URL-safe")
		}
	}
	return nil
}

// Scope returns the scope of a name with its "@", such as "@acme", and "" for a name without one.
func Scope(name string) string {
	if scope, _, ok := strings.Cut(name, "/"); ok && strings.HasPrefix(scope, "@") {
		return scope
	}
	return ""
}

// EscapeName returns a name as it stands in a registry path: the slash after the scope becomes "%2f" in
// lower case, everything else stays, so "@acme/widget" gives "@acme%2fwidget".
// Source: npm-package-arg, escapedName.
func EscapeName(name string) string { return strings.Replace(name, "/", "%2f", 1) }

// TarballPath returns the path of a version's tarball below the registry's base URL as the public
// registry lays it out, such as "@acme/widget/-/widget-1.2.3.tgz". Build metadata of the version is kept.
func TarballPath(id ID) string {
	bare := strings.TrimPrefix(id.Name, Scope(id.Name)+"/")
	return id.Name + "/-/" + bare + "-" + id.Version + ".tgz"
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// quoteShort quotes hostile text for an error message and cuts it to a readable length.
func quoteShort(s string) string {
	const most = 100
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
