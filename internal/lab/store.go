package lab

import (
	"maps"
	"slices"
	"time"
)

// store is what the registry holds. The lab's mutex guards it.
type store struct{ packages map[string]*stored }

type stored struct {
	versions map[string]*Published
	tags     map[string]string
	created  time.Time
	modified time.Time
}

func newStore() store { return store{packages: map[string]*stored{}} }

// keep puts a version into the registry, in place of one of the same name and version.
func (l *Lab) keep(p *Published, tag string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store.packages[p.Name]
	if s == nil {
		s = &stored{versions: map[string]*Published{}, tags: map[string]string{}, created: p.Time}
		l.store.packages[p.Name] = s
	}
	s.versions[p.Version] = p
	s.tags[tag] = p.Version
	s.modified = p.Time
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
