package lab

import (
	"encoding/hex"
	"strings"
)

// Statement and predicate types.
const (
	StatementV01       = "https://in-toto.io/Statement/v0.1"
	StatementV1        = "https://in-toto.io/Statement/v1"
	PredicatePublish   = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1"
	PredicateSLSAv02   = "https://slsa.dev/provenance/v0.2"
	PredicateSLSAv1    = "https://slsa.dev/provenance/v1"
	PayloadTypeInToto  = "application/vnd.in-toto+json"
	BuildTypeGitHub    = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
	BuildTypeGitHubV02 = "https://github.com/npm/cli/gha/v2"
	BuildTypeGitLab    = "https://github.com/npm/cli/gitlab/v0alpha1"
)

// A Statement is an in-toto statement. Predicate is made of map[string]any, []any, strings and the like, so that a
// tampering function can reach every member; [Set], [Delete] and [Get] do it by path.
type Statement struct {
	Type          string         `json:"_type"`
	Subject       []Subject      `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     map[string]any `json:"predicate"`
}

// A Subject is what a statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"` // algorithm to lower-case hex
}

type object = map[string]any

// purl names a package version the way npm does: a leading @ becomes %40 and nothing else is escaped.
func purl(name, version string) string {
	if rest, ok := strings.CutPrefix(name, "@"); ok {
		name = "%40" + rest
	}
	return "pkg:npm/" + name + "@" + version
}

func npmSubject(name, version string, sha512 []byte) []Subject {
	return []Subject{{Name: purl(name, version), Digest: map[string]string{"sha512": hex.EncodeToString(sha512)}}}
}

// publishStatement is the registry's statement that it accepted a version (npm/attestation specs/publish/v0.1).
func publishStatement(name, version, registry string, sha512 []byte) *Statement {
	return &Statement{Type: StatementV01, Subject: npmSubject(name, version, sha512), PredicateType: PredicatePublish,
		Predicate: object{"name": name, "version": version, "registry": registry}}
}

// Get returns the member of a predicate at a path of object keys, and of array indices written as decimal text;
// nil if there is none.
func Get(predicate map[string]any, path ...string) any {
	var v any = predicate
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i := int(p[0] - '0')
			if len(p) != 1 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// Set replaces the member of a predicate at a path as in [Get]. It panics if the parent is not an object: a test
// that means to change something must not silently change nothing.
func Set(predicate map[string]any, value any, path ...string) {
	parent(predicate, path)[path[len(path)-1]] = value
}

// Delete removes the member of a predicate at a path. It panics if there is none.
func Delete(predicate map[string]any, path ...string) {
	p, last := parent(predicate, path), path[len(path)-1]
	if _, ok := p[last]; !ok {
		panic("lab: predicate has no member " + strings.Join(path, "."))
	}
	delete(p, last)
}

func parent(predicate map[string]any, path []string) map[string]any {
	p, ok := Get(predicate, path[:len(path)-1]...).(map[string]any)
	if !ok {
		panic("lab: predicate has no object for member " + strings.Join(path, "."))
	}
	return p
}
