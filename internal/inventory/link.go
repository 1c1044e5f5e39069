package inventory

import (
	"cmp"
	"fmt"
	"path"
	"strings"
)

// A linkAsk sums up what the edges that lead to one link ask for. As in asked only the edges with the
// most say count, but each is judged by itself: that one of them may lead there excuses none of the others.
type linkAsk struct {
	say     int8
	excused bool   // the project's own manifests ask for this directory by its path
	version string // what is wrong with an edge that asks by version, range or tag; "" for nothing
	other   string // what is wrong with one that asks by path, repository or address
	gentle  bool   // version is what npm link does, too
}

// problem is what is wrong with the link, "" for nothing.
func (a *linkAsk) problem() string {
	if a.other == "" && !a.excused {
		return a.version
	}
	return a.other
}

// linksAsked judges every link that something asks for, by index.
//
// A link is a way to put one package in the place of another: npm creates whatever link the lockfile
// lists, and Node.js follows it. So what is asked for by version must be what the link's target is
// named. Stores of packages, workspaces and npm link all keep to that.
func (t *tree) linksAsked() map[int32]*linkAsk {
	asks := make(map[int32]*linkAsk)
	for i := range t.nodes {
		from := &t.nodes[i]
		for j := range from.edges {
			e := &from.edges[j]
			if e.To < 0 || e.Kind == Workspace || !t.nodes[e.To].has(isLink) {
				continue
			}
			a := asks[int32(e.To)]
			if a == nil {
				a = &linkAsk{}
				asks[int32(e.To)] = a
			}
			say := t.say(i)
			if say < a.say {
				continue
			} else if say > a.say {
				*a = linkAsk{say: say}
			}
			t.judgeLink(a, from, e)
		}
	}
	return asks
}

// judgeLink adds the word on one edge that leads to a link.
func (t *tree) judgeLink(a *linkAsk, from *node, e *Edge) {
	link := &t.nodes[e.To]
	kind, alias := parseSpec(e.Spec)
	want := cmp.Or(alias, e.Name)
	disk := link.has(onDisk) || t.kind == kindNodeModules
	// Where the link leads, and what is there.
	where, there, named, installed, ours := path.Clean(link.resolved), "which is not listed", false, false, false
	if link.link >= 0 {
		target := &t.nodes[link.link]
		where, there = target.path, fmt.Sprintf("which holds %s", quoteShort(target.packageName()))
		named, installed, ours = target.packageName() == want, target.has(isInstalled), target.has(isWorkspace)
	}
	for _, spec := range t.overrides[e.Name] {
		if kind, alias := parseSpec(spec); alias != "" && link.link >= 0 && alias == t.nodes[link.link].packageName() {
			named = true
		} else if dir, ok := specPath("", spec); ok && kind&(specFile|specLink) != 0 && dir == where {
			return
		}
	}
	inModules := strings.Contains("/"+where+"/", "/"+nodeModules+"/")
	if kind != specRegistry {
		byPath := kind&(specFile|specLink|specWorkspace) != 0
		dir, ok := specPath(from.path, e.Spec)
		switch {
		case byPath && !inModules: // a directory of the project's own
		case byPath && a.say == sayProject && ok && dir == where:
		case installed && named:
		case disk && (!inModules || strings.Contains(where, nodeModules+"/.")): // npm link, or a store that names places by what is there
		default:
			a.other = cmp.Or(a.other, fmt.Sprintf("%s is asked for as %s but is a link to %s, %s", quoteShort(e.Name), quoteShort(e.Spec), quoteShort(where), there))
			return
		}
		a.excused = a.excused || a.say == sayProject
		return
	}
	gentle := false
	var why string
	switch {
	case link.link < 0:
		gentle = disk
		why = fmt.Sprintf("a link to %s, %s", quoteShort(where), there)
	case !t.rootKnown && !installed && !inModules:
		return // whether it is a workspace, or asked for by path, is not known
	case !named:
		why = fmt.Sprintf("a link to %s, %s", quoteShort(cmp.Or(where, ".")), there)
	case !installed && !ours:
		gentle = link.has(onDisk)
		why = fmt.Sprintf("a link to the directory %s", quoteShort(cmp.Or(where, ".")))
	default:
		return
	}
	if a.version == "" || a.gentle && !gentle {
		a.version = fmt.Sprintf("%s is asked for by version (%s) but is %s", quoteShort(e.Name), quoteShort(e.Spec), why)
		a.gentle = gentle
	}
}

// specPath is the directory of the project that a file: or link: specifier in the manifest at dir names;
// ok is false where it names none, or one by its absolute path.
func specPath(dir, spec string) (where string, ok bool) {
	rest := strings.TrimSpace(spec)
	if scheme, after, found := strings.Cut(rest, ":"); found && isScheme(scheme) {
		switch strings.ToLower(scheme) {
		case "file", "link", "portal":
			rest = after
		default:
			return "", false
		}
	}
	if rest == "" || rest[0] == '/' || rest[0] == '~' || strings.Contains(rest, `\`) {
		return "", false
	}
	if where = path.Join(dir, rest); where == "." {
		where = ""
	}
	return where, true
}
