package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"assay/internal/npm"
)

// link makes the edges.
func (r *pnpmReader) link() error {
	if err := r.markImporters(); err != nil {
		return err
	}
	for _, d := range r.docs {
		for i := range d.snaps {
			if err := r.linkSnapshot(d, &d.snaps[i]); err != nil {
				return err
			}
		}
	}
	return r.linkImporters()
}

// linkSnapshot makes the edges of a package.
func (r *pnpmReader) linkSnapshot(d *pnpmDoc, s *pnpmSnap) error {
	if s.of.directory != "" || s.of.kind == "directory" {
		r.linkDirectory(s)
	}
	if s.value.y == nil {
		return nil
	}
	total := 0
	for k, v := range s.value.members() {
		if f := k.text(); f == "dependencies" || f == "optionalDependencies" {
			if err := v.expect(yamlMap, f); err != nil {
				return err
			}
			for range v.members() {
				total++
			}
		}
	}
	if total == 0 {
		return nil
	}
	if total > maxEdges {
		return r.errorf(s.value, "more than %d dependencies in one place", maxEdges)
	}
	if err := r.count(s.value.line(), 0, total); err != nil {
		return err
	}
	if s.of.peers == nil && s.of.peersOf.y != nil {
		s.of.peers = make(map[string]bool)
		for k := range s.of.peersOf.members() {
			s.of.peers[k.text()] = true
		}
	}
	edges := make([]Edge, 0, total)
	for k, v := range s.value.members() {
		kind := Prod
		switch k.text() {
		case "dependencies":
		case "optionalDependencies":
			kind = Optional
		default:
			continue
		}
		for k, v := range v.members() {
			ref, err := v.str("version of " + quoteShort(k.text()))
			if err != nil {
				return err
			}
			e := Edge{Name: k.text(), Kind: kind, To: Missing}
			if s.of.peers[e.Name] && kind == Prod {
				e.Kind = Peer
			}
			to, err := r.target(d, "", e.Name, ref, k)
			if err != nil {
				return err
			}
			if e.To = int(to); to < 0 {
				e.To, e.Spec = Missing, ref
			} else {
				e.Spec = r.refSpec(d, e.Name, ref, to)
			}
			edges = append(edges, e)
		}
	}
	sortEdges(edges)
	r.t.nodes[s.node].edges = edges
	return nil
}

// sortEdges sorts by name. Unlike setEdges it keeps one name in several fields, since each leads somewhere.
func sortEdges(edges []Edge) {
	byName := func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	}
	if !slices.IsSortedFunc(edges, byName) {
		slices.SortStableFunc(edges, byName)
	}
}

// target finds what a dependency's version leads to; from is the directory that links are relative to. It is -1 for
// what the file does not list.
func (r *pnpmReader) target(d *pnpmDoc, from, name, ref string, at yamlValue) (int32, error) {
	if rest, ok := strings.CutPrefix(ref, "link:"); ok {
		return r.directory(path.Join(from, rest), rest, name, at)
	}
	r.key = appendPnpmRef(r.key[:0], name, ref, d.major)
	if to, ok := d.index[string(r.key)]; ok {
		if r.nameless[to] {
			r.t.nodes[to].realName = name
			delete(r.nameless, to)
		}
		return to, nil
	}
	return -1, nil
}

// directory returns the node of a directory that a link leads to.
func (r *pnpmReader) directory(where, link, name string, at yamlValue) (int32, error) {
	if where == "." {
		where = ""
	}
	absolute := path.IsAbs(link) || strings.Contains(link, `\`) || len(link) > 1 && link[1] == ':'
	if absolute {
		where = "link:" + link
	}
	if to, ok := r.dirs[where]; ok {
		return to, nil
	}
	if err := r.count(at.line(), 1, 0); err != nil {
		return 0, err
	}
	n := node{path: where, realName: name, nameAt: noPlace, line: int32(at.line()), link: notLink}
	if !absolute {
		var err error
		if n, err = newNode(where, r.file, at.line()); err != nil {
			return 0, err
		}
		n.flags &^= isInstalled
	} else if _, err := r.plainKey(at); err != nil {
		return 0, err
	}
	n.resolved = "link:" + cmp.Or(strings.TrimPrefix(where, "link:"), ".")
	to := int32(len(r.t.nodes))
	r.dirs[where] = to
	r.t.nodes = append(r.t.nodes, n)
	return to, nil
}

// refSpec says what a package's dependency asks for, as far as the lockfile knows: there are versions and no ranges.
func (r *pnpmReader) refSpec(d *pnpmDoc, name, ref string, to int32) string {
	n := &r.t.nodes[to]
	switch {
	case !n.has(isInstalled):
		return ref
	case n.has(isFrom):
		if d.major >= 9 {
			id, _ := cutPeers(n.path)
			_, from := splitSpec(id)
			return from
		}
		return cmp.Or(n.resolved, ref)
	case name != n.realName:
		return "npm:" + n.realName + "@" + n.version
	}
	return n.version
}

// linkDirectory takes what is copied from a directory of the workspace for a part of the project.
func (r *pnpmReader) linkDirectory(s *pnpmSnap) {
	where := path.Clean(s.of.directory)
	if at, ok := r.dirs[cmp.Or(strings.TrimPrefix(where, "."), "")]; ok && at > 0 && r.t.nodes[at].has(isWorkspace) && r.t.nodes[at].packageName() == s.of.name {
		n := &r.t.nodes[s.node]
		n.flags |= isWorkspace
		n.flags &^= isInstalled
		n.resolved = ""
	}
}

// finish puts the nodes in their final order: the root, then by path.
func (r *pnpmReader) finish() *tree {
	nodes := r.t.nodes
	order := make([]int32, len(nodes))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order[1:], func(a, b int32) int {
		return cmp.Or(strings.Compare(nodes[a].path, nodes[b].path), cmp.Compare(nodes[a].line, nodes[b].line), cmp.Compare(a, b))
	})
	sorted := make([]node, len(nodes))
	place := make([]int32, len(nodes))
	for i, old := range order {
		sorted[i] = nodes[old]
		place[old] = int32(i)
	}
	for i := range sorted {
		for j := range sorted[i].edges {
			if e := &sorted[i].edges[j]; e.To >= 0 {
				e.To = int(place[e.To])
			}
		}
		sortEdges(sorted[i].edges)
	}
	r.t.nodes = sorted
	return r.t
}

// notePatches warns of what makes the files on disk differ from those of the registry.
func (r *pnpmReader) notePatches(s *source) {
	files := make(map[string]string, len(r.project.patches)) // that the project's settings name
	for _, p := range r.project.patches {
		if _, ok := files[p.pattern]; !ok {
			files[p.pattern] = p.spec
		}
	}
	for _, d := range r.docs {
		if d.patched.y == nil {
			continue
		}
		rules := make(map[string]bool)
		for k := range d.patched.members() {
			rules[k.text()] = true
		}
		// What the keys say is patched, unless a rule names its version.
		byName := make(map[string][]string)
		for _, s := range d.snaps {
			n := &r.t.nodes[s.node]
			if id := n.realName + "@" + n.version; strings.Contains(n.path, "(patch_hash=") && !rules[id] && len(byName[n.realName]) <= maxPatched && !slices.Contains(byName[n.realName], id) {
				byName[n.realName] = append(byName[n.realName], id)
			}
		}
		for k, v := range d.patched.members() {
			// Since pnpm 9 the lockfile has a hash only, and the file stands with the project's settings.
			id, file := k.text(), ""
			if p, ok := v.get("path"); ok {
				file = p.text()
			} else {
				file = files[id]
			}
			by := ""
			if file != "" {
				by = " by " + quoteShort(file)
				name, version := splitSpec(id)
				if npm.CheckVersion(version) == nil {
					r.t.addPatches(id, "", file)
				} else if len(byName[name]) <= maxPatched {
					for _, id := range byName[name] {
						r.t.addPatches(id, "", file)
					}
				}
			}
			r.note("patched", k.line(), "%s is patched%s after it is fetched: what is installed is not what its publisher signed", quoteShort(id), by)
		}
	}
	file, line := "", 0
	for _, name := range []string{".pnpmfile.mjs", ".pnpmfile.cjs", "pnpmfile.js"} {
		if _, err := fs.Stat(s.fsys, name); err == nil {
			file = name
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			file = name // there is something
		}
	}
	for _, d := range r.docs {
		if d.pnpmfile.y != nil {
			line = d.pnpmfile.line()
		}
	}
	if file != "" || line > 0 {
		r.note("pnpmfile", line, "%s is a program that can change what is asked for while pnpm resolves: that it made the lockfile differ from package.json cannot be told from an edited lockfile", cmp.Or(file, ".pnpmfile.cjs"))
	}
}

// note adds a warning about the file.
func (r *pnpmReader) note(code string, line int, format string, args ...any) {
	if r.t.warned == nil {
		r.t.warned = make(map[string]int)
	}
	if r.t.warned[code]++; r.t.warned[code] <= maxSameWarn {
		r.t.warnings = append(r.t.warnings, Warning{Code: code, Message: fmt.Sprintf(format, args...), File: r.file, Line: line})
	}
}

// registrySpec reports whether a specifier asks for a package of a registry.
func registrySpec(spec string) bool {
	kind, _ := parseSpec(spec)
	return kind == specRegistry
}
