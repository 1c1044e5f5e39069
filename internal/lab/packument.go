package lab

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// history makes a packument as long as those of real packages: versions that exist on paper only, with documents
// like that of a real one. Their tarballs are not served and their signatures hold for nothing.
type history struct {
	versions int
	readme   int // bytes
}

// abbreviatedMembers are what a version has in the install form
// (npm/registry docs/responses/package-metadata.md).
var abbreviatedMembers = []string{
	"name", "version", "deprecated", "dependencies", "optionalDependencies", "devDependencies", "peerDependencies",
	"peerDependenciesMeta", "bundleDependencies", "bin", "directories", "dist", "engines", "cpu", "os", "libc", "funding",
	"hasInstallScript", "_hasShrinkwrap",
}

// based is a version's document with the URLs of a server in place of those it was published with.
func (p *Published) based(base string) map[string]any {
	doc := maps.Clone(p.doc)
	dist, ok := doc["dist"].(map[string]any)
	if !ok {
		return doc
	}
	dist = maps.Clone(dist)
	doc["dist"] = dist
	rebase := func(m map[string]any, member string) {
		if u, ok := m[member].(string); ok {
			if rest, ok := strings.CutPrefix(u, p.registry+"/"); ok {
				m[member] = base + "/" + rest
			}
		}
	}
	rebase(dist, "tarball")
	if a, ok := dist["attestations"].(map[string]any); ok {
		a = maps.Clone(a)
		dist["attestations"] = a
		rebase(a, "url")
	}
	return doc
}

// Packument is the full packument of a package as it names its URLs itself; nil if the package is not there.
func (l *Lab) Packument(name string) []byte {
	base := l.Registry()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store.packages[name] == nil {
		return nil
	}
	return marshal(l.packument(name, base, true))
}

// packument is the document of a package, abbreviated or full. The caller holds the lab's lock.
func (l *Lab) packument(name, base string, full bool) map[string]any {
	s := l.store.packages[name]
	versions, times := object{}, object{"created": jsTime(s.created), "modified": jsTime(s.modified)}
	for v, at := range s.removed {
		times[v] = jsTime(at)
	}
	var newest map[string]any
	for v, p := range s.versions {
		doc := p.based(base)
		if v == s.tags["latest"] || newest == nil {
			newest = doc
		}
		if !full {
			doc = abbreviate(doc)
		}
		versions[v], times[v] = doc, jsTime(p.Time)
	}
	for i := range s.history.versions {
		v := fmt.Sprintf("0.%d.%d", i/7, i%7)
		if versions[v] != nil {
			continue
		}
		doc := l.onPaper(newest, v)
		if !full {
			doc = abbreviate(doc)
		}
		versions[v], times[v] = doc, jsTime(s.created.Add(-time.Duration(s.history.versions-i)*9*24*time.Hour))
	}
	if !full {
		return object{"name": name, "modified": jsTime(s.modified), "dist-tags": maps.Clone(s.tags), "versions": versions}
	}
	doc := object{
		"_id": name, "_rev": fmt.Sprintf("%d-%x", s.edition, l.derive("rev " + name)[:8]), "name": name,
		"dist-tags": maps.Clone(s.tags), "versions": versions, "time": times,
		"readme": l.prose("readme "+name, s.history.readme), "readmeFilename": "README.md",
	}
	for _, member := range []string{"description", "repository", "license", "maintainers", "homepage", "keywords"} {
		if v, ok := newest[member]; ok {
			doc[member] = v
		}
	}
	return doc
}

func abbreviate(doc map[string]any) map[string]any {
	short := object{}
	for _, m := range abbreviatedMembers {
		if v, ok := doc[m]; ok {
			short[m] = v
		}
	}
	if scripts, ok := doc["scripts"].(map[string]any); ok {
		for _, hook := range []string{"preinstall", "install", "postinstall"} {
			if scripts[hook] != nil {
				short["hasInstallScript"] = true
			}
		}
	}
	return short
}

// onPaper is the document of a version that never was.
func (l *Lab) onPaper(like map[string]any, version string) map[string]any {
	doc := maps.Clone(like)
	name, _ := doc["name"].(string)
	noise := append(l.derive("paper "+name+version), l.derive("paper2 "+name+version)...)
	doc["version"], doc["_id"] = version, name+"@"+version
	doc["gitHead"] = fmt.Sprintf("%x", noise[:20])
	tarball := ""
	if dist, ok := doc["dist"].(map[string]any); ok {
		tarball, _ = dist["tarball"].(string)
	}
	doc["dist"] = object{
		"integrity": "sha512-" + base64.StdEncoding.EncodeToString(noise[:64]), "shasum": fmt.Sprintf("%x", noise[20:40]),
		"tarball":   strings.TrimSuffix(tarball, lastElement(tarball)) + unscoped(name) + "-" + version + ".tgz",
		"fileCount": 3, "unpackedSize": 2000,
		"signatures": []any{object{"keyid": l.RetiredKey.ID, "sig": noise[40:110]}},
	}
	return doc
}

func lastElement(url string) string { return url[strings.LastIndex(url, "/")+1:] }

// prose is text of about n bytes that compresses like text.
func (l *Lab) prose(label string, n int) string {
	words := strings.Fields("a package that pads strings on the left and reads every file it is given with care for the stream " +
		"of bytes options install usage example returns callback promise array object when true default license contributors")
	var b strings.Builder
	for seed := l.derive(label); b.Len() < n; seed = l.derive(label + string(rune(b.Len()))) {
		for _, x := range seed {
			b.WriteString(words[int(x)%len(words)])
			b.WriteByte(" \n"[int(x)/200])
		}
	}
	return b.String()[:min(n, b.Len())]
}

// tagOrVersion resolves what a request asked for; nil if there is no such version.
func (s *stored) tagOrVersion(x string) *Published {
	if v, ok := s.tags[x]; ok {
		x = v
	}
	return s.versions[x]
}

// search lists packages whose name contains a text, in the form of /-/v1/search.
func (l *Lab) search(text string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	objects := []any{}
	for _, name := range slices.Sorted(maps.Keys(l.store.packages)) {
		if strings.Contains(name, text) {
			s := l.store.packages[name]
			objects = append(objects, object{"package": object{"name": name, "version": s.tags["latest"], "date": jsTime(s.modified)}})
		}
	}
	return object{"objects": objects, "total": len(objects), "time": jsTime(l.now())}
}
