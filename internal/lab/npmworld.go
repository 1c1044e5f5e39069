package lab

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// WorldOptions says how large a generated registry is. Zero values mean what is said at each field.
type WorldOptions struct {
	Packages int // 1500
	Attested int // 300; how many of them have provenance, spread evenly
	Direct   int // 60; how many the project depends on itself
	History  int // 24; versions of a package in its packument, on average; most exist on paper only
	Readme   int // 3000 bytes of readme in a full packument
}

// A World is a generated registry and a project that uses all of it.
type World struct {
	Packages []*Published
	direct   int
}

// fanOut is how many packages each package of a world depends on, as long as there are any.
const fanOut = 4

// Generate publishes a world of packages. It takes about a millisecond for each, five if attested.
func (l *Lab) Generate(o WorldOptions) (*World, error) {
	o.Packages = cmp.Or(o.Packages, 1500)
	o.Attested = min(cmp.Or(o.Attested, 300), o.Packages)
	o.Direct = min(cmp.Or(o.Direct, 60), o.Packages)
	o.History = cmp.Or(o.History, 24)
	o.Readme = cmp.Or(o.Readme, 3000)
	w := &World{direct: o.Direct, Packages: make([]*Published, o.Packages)}
	at := l.Now().Add(-90 * 24 * time.Hour)
	if at.Before(l.start) {
		at = l.start
	}
	// Backwards, so that what a package depends on has its version already.
	for i := o.Packages - 1; i >= 0; i-- {
		name, version := worldName(i), fmt.Sprintf("%d.%d.%d", 1+i%5, i%13, i%7)
		dependencies := object{}
		for _, j := range w.children(i) {
			dependencies[worldName(j)] = "^" + w.Packages[j].Version
		}
		repository := fmt.Sprintf("lab-org-%d/%s", i%40, unscoped(name))
		r := Release{
			Package: Package{Name: name, Version: version, Manifest: object{
				"description": l.prose("description "+name, 70), "dependencies": dependencies,
				"repository": object{"type": "git", "url": "git+https://github.com/" + repository + ".git"},
				"homepage":   "https://github.com/" + repository + "#readme", "keywords": []any{"lab", unscoped(name)},
				"scripts": object{"test": "node test.js", "build": "node build.js"}, "engines": object{"node": ">=18"},
			}},
			At: at.Add(time.Duration(o.Packages-i) * time.Minute),
		}
		if r.At.After(l.Now()) {
			r.At = l.Now()
		}
		if i*o.Attested/o.Packages != (i+1)*o.Attested/o.Packages {
			r.CI = GitHub(repository)
		}
		p, err := l.Publish(r)
		if err != nil {
			return nil, err
		}
		w.Packages[i] = p
		noise := l.derive("history " + name)
		l.mu.Lock()
		l.store.packages[name].history = history{versions: int(noise[0]) * o.History / 128, readme: o.Readme/2 + int(noise[1])*o.Readme/256}
		l.mu.Unlock()
	}
	return w, nil
}

func worldName(i int) string {
	words := []string{"left", "stream", "buffer", "color", "async", "path", "glob", "types", "parse", "core", "queue", "cache", "regex"}
	name := fmt.Sprintf("%s-%s-%d", words[i%13], words[(i/13+5)%13], i)
	if i%6 == 5 {
		return fmt.Sprintf("@lab-org-%d/%s", i%40, name)
	}
	return name
}

// children are the packages that package i depends on: the project's direct ones come first, then theirs in turn.
func (w *World) children(i int) []int {
	var out []int
	for j := w.direct + i*fanOut; j < min(w.direct+(i+1)*fanOut, len(w.Packages)); j++ {
		out = append(out, j)
	}
	return out
}

// Dependencies is the "dependencies" of the project that uses the world.
func (w *World) Dependencies() map[string]any {
	deps := object{}
	for _, p := range w.Packages[:w.direct] {
		deps[p.Name] = "^" + p.Version
	}
	return deps
}

// Lockfile is the project's package-lock.json (version 3), with tarballs at a registry.
func (w *World) Lockfile(registry string) []byte {
	return Lockfile(registry, w.Dependencies(), w.Packages)
}

// Lockfile is a package-lock.json (version 3) of a project called app in which every package lies at the top.
func Lockfile(registry string, dependencies map[string]any, packages []*Published) []byte {
	entries := object{"": object{"name": "app", "version": "1.0.0", "dependencies": dependencies}}
	for _, p := range packages {
		entry := object{"version": p.Version, "resolved": tarballURL(registry, p.Name, p.Version), "integrity": p.Integrity, "license": "MIT"}
		for _, m := range []string{"dependencies", "engines", "bin"} {
			if v, ok := p.doc[m]; ok && len(fmt.Sprint(v)) > len("map[]") {
				entry[m] = v
			}
		}
		entries["node_modules/"+p.Name] = entry
	}
	return marshal(object{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": entries})
}

// WriteProject writes the project into a directory: package.json, package-lock.json, an .npmrc that names the
// registry, and with installed, node_modules with every package's package.json.
func (w *World) WriteProject(dir, registry string, installed bool) error {
	files := map[string][]byte{
		"package.json":      marshal(object{"name": "app", "version": "1.0.0", "private": true, "dependencies": w.Dependencies()}),
		"package-lock.json": w.Lockfile(registry),
		".npmrc":            []byte("registry=" + registry + "/\n"),
	}
	if installed {
		for _, p := range w.Packages {
			files["node_modules/"+p.Name+"/package.json"] = marshal(p.Manifest)
		}
	}
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("lab: writing the project: %w", err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("lab: writing the project: %w", err)
		}
	}
	return nil
}

// Warm renders every answer about packages now, so that a measurement does not measure that.
func (s *Server) Warm() {
	names := s.lab.Packages()
	var wg sync.WaitGroup
	for _, name := range names {
		for _, e := range []Endpoint{EndpointPackument, EndpointAbbreviated} {
			wg.Go(func() { s.find(target{kind: e, name: name}) })
		}
	}
	wg.Wait()
}
