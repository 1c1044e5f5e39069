package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// store is what the registry holds. The lab's mutex guards it.
type store struct {
	packages   map[string]*stored
	advisories map[string][]any // by package name
}

type stored struct {
	versions map[string]*Published
	tags     map[string]string
	removed  map[string]time.Time // times of versions that were taken down
	created  time.Time
	modified time.Time
	history  history
	edition  int // counts changes, so that what was rendered earlier can be told from what is current
}

func newStore() store {
	return store{packages: map[string]*stored{}, advisories: map[string][]any{}}
}

// keep puts a version into the registry, in place of one of the same name and version.
func (l *Lab) keep(p *Published, tag string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store.packages[p.Name]
	if s == nil {
		s = &stored{versions: map[string]*Published{}, tags: map[string]string{}, removed: map[string]time.Time{}, created: p.Time}
		l.store.packages[p.Name] = s
	}
	s.versions[p.Version] = p
	s.tags[tag] = p.Version
	s.modified = p.Time
	s.edition++
}

// Lookup returns a version that was published; nil if there is none.
func (l *Lab) Lookup(name, version string) *Published {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.store.packages[name]; s != nil {
		return s.versions[version]
	}
	return nil
}

// Packages lists the names that were published, sorted.
func (l *Lab) Packages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.store.packages))
}

// Unpublish removes a version, and the package with its last one. Its time stays in the packument, as at npm's.
func (l *Lab) Unpublish(name, version string) { l.remove(name, version, true) }

// Forget removes a version as if it had never been published.
func (l *Lab) Forget(name, version string) { l.remove(name, version, false) }

func (l *Lab) remove(name, version string, keepTime bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store.packages[name]
	if s == nil {
		return
	}
	if p := s.versions[version]; p != nil && keepTime {
		s.removed[version] = p.Time
	}
	delete(s.versions, version)
	maps.DeleteFunc(s.tags, func(_, v string) bool { return v == version })
	s.edition++
	if len(s.versions) == 0 {
		delete(l.store.packages, name)
		return
	}
	if s.tags["latest"] == "" {
		newest := slices.MaxFunc(slices.Collect(maps.Values(s.versions)), func(a, b *Published) int {
			return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Version, b.Version))
		})
		s.tags["latest"] = newest.Version
	}
}

// Change alters what the registry has of a published version: its document, and its list of attestations, where
// nil means that there is none. Nothing is signed again. It is how a registry that turned bad is made.
func (l *Lab) Change(name, version string, f func(doc map[string]any, list []Attestation) []Attestation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store.packages[name]
	if s == nil || s.versions[version] == nil {
		return fmt.Errorf("lab: changing %s@%s: not published", name, version)
	}
	p := *s.versions[version]
	p.doc = nil
	if err := json.Unmarshal(s.versions[version].Document, &p.doc); err != nil {
		return fmt.Errorf("lab: changing %s@%s: %w", name, version, err)
	}
	p.List = f(p.doc, slices.Clone(p.List))
	p.Document, p.Attestations = marshal(p.doc), nil
	if p.List != nil {
		p.Attestations = marshal(map[string]any{"attestations": p.List})
	}
	s.versions[version] = &p
	s.edition++
	return nil
}

// Strip makes the registry forget that a version ever had attestations: it announces none and serves none.
func (l *Lab) Strip(name, version string) error {
	return l.Change(name, version, func(doc map[string]any, _ []Attestation) []Attestation {
		if dist, ok := doc["dist"].(map[string]any); ok {
			delete(dist, "attestations")
		}
		return nil
	})
}

// Deprecate marks a version deprecated.
func (l *Lab) Deprecate(name, version, message string) error {
	return l.Change(name, version, func(doc map[string]any, list []Attestation) []Attestation {
		doc["deprecated"] = message
		return list
	})
}

// Advise adds a security advisory for the versions of a package in an npm range, such as "<1.2.3". One whose title
// begins with "Malware" is about versions that were made to do harm, any other about a flaw.
func (l *Lab) Advise(name, vulnerable, severity, title string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 1000 + len(l.store.advisories[name])
	cwe := "CWE-1321"
	if strings.HasPrefix(title, "Malware") {
		cwe = "CWE-506"
	}
	l.store.advisories[name] = append(l.store.advisories[name], object{
		"id": n, "url": fmt.Sprintf("https://lab.assay.test/advisories/%d", n), "title": title, "severity": severity,
		"vulnerable_versions": vulnerable, "cwe": []any{cwe},
		"cvss": object{"score": 9.8, "vectorString": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"},
	})
}
