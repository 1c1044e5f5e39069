package inventory

import (
	"cmp"
	"slices"
	"strings"
)

// Limits on what is asked for and not listed. Somebody who deletes that much of a lockfile gets an error.
const (
	maxMissing       = 1000 // packages
	maxMissingPlaces = 100  // places that one of them tells of; the rest is left out
)

// missing returns what is asked for and not listed: npm would install it all the same, whatever the
// registry has by then. That is no fault of what may be absent: optional dependencies, which npm leaves
// out of a lockfile on platforms they are not for, and optional peer dependencies.
func (t *tree) missing(opts Options, keep []bool) ([]Other, error) {
	type ask struct{ name, spec string }
	var rows []Other
	index := make(map[ask]int)
	omit := omitted(opts.Omit)
	for i := range t.nodes {
		n := &t.nodes[i]
		if !keep[i] || n.has(isLink|isOptional|isExtraneous) || strings.HasPrefix(n.path, "../") {
			continue // npm does not install for directories outside the project
		}
		own := t.say(i) == sayProject
		for _, e := range n.edges {
			switch {
			case e.To != Missing:
				continue
			case e.Kind == Dev && (!own || omit&isDev != 0), e.Kind == Peer && (opts.LegacyPeerDeps || t.legacy || t.peersMayMiss || omit&isPeer != 0):
				continue
			case e.Kind != Prod && e.Kind != Dev && e.Kind != Peer:
				continue
			}
			if t.kind == kindNodeModules || t.legacy && !own {
				// What is installed may well be without some of it, and is then not in use either. Version 1 does not
				// say which dependencies are optional.
				if e.Kind == Prod && (own || t.legacy) {
					t.warn(n, "missing", false, "%s is asked for (%s) but not listed", quoteShort(e.Name), quoteShort(e.Spec))
				}
				continue
			}
			r, ok := index[ask{e.Name, e.Spec}]
			if !ok {
				if len(rows) == maxMissing {
					return nil, t.errorf(n, "more than %d packages are asked for and not listed", maxMissing)
				}
				r, index[ask{e.Name, e.Spec}] = len(rows), len(rows)
				rows = append(rows, Other{Name: printable(e.Name), Source: SourceUnknown, Spec: e.Spec, Missing: true, Dev: true, Peer: true})
			}
			row := &rows[r]
			row.Direct = row.Direct || own
			row.Dev = row.Dev && (e.Kind == Dev || n.has(isDev))
			row.Peer = row.Peer && (e.Kind == Peer || n.has(isPeer))
			if len(row.Locations) < maxMissingPlaces {
				l := t.location(n)
				l.Path = joinPath(n.path, nodeModules+"/"+printable(e.Name))
				row.Locations = append(row.Locations, l)
			}
		}
	}
	return rows, nil
}

// oddMore is the Oddity of what the warnings only count.
const oddMore = "no package manager writes what the lockfile has here; the warnings tell of others of its kind"

// markOdd gives every suspicious warning a row: that of the place it concerns, else one of its own, so
// that nobody needs to read warnings to be safe. What Options leave out needs none.
func (t *tree) markOdd(p *Project, keep []bool) {
	odd := make(map[string]string) // by place
	for _, w := range p.Warnings {
		if w.Suspicious && w.Path != "" {
			odd[w.Path] = join(odd[w.Path], w.Message)
		}
	}
	at := make(map[string]int) // nodes of those places
	for i := range t.nodes {
		if where := t.nodes[i].path; odd[where] != "" {
			at[where] = i
		}
	}
	told := make(map[string]bool)
	mark := func(oddity *string, locations []Location) {
		all := ""
		for _, l := range locations {
			if s := odd[l.Path]; s != "" {
				told[l.Path] = true
				all = join(all, s)
			}
		}
		*oddity = cmp.Or(all, *oddity)
	}
	for i := range p.Packages {
		mark(&p.Packages[i].Oddity, p.Packages[i].Locations)
	}
	for i := range p.Others {
		mark(&p.Others[i].Oddity, p.Others[i].Locations)
	}
	var rows []Other
	for _, w := range p.Warnings {
		if !w.Suspicious || told[w.Path] && w.Path != "" {
			continue
		}
		i, known := at[w.Path]
		if known && !keep[i] {
			continue
		}
		row := Other{Name: w.File, Source: SourceUnknown, Oddity: w.Message, Locations: []Location{{cmp.Or(w.Path, w.File), w.File, w.Line}}}
		if w.Path != "" {
			told[w.Path] = true
			row.Oddity = odd[w.Path]
			n, err := newNode(w.Path, w.File, w.Line)
			if known {
				n = t.nodes[i]
			}
			if row.Name = w.Path; known || err == nil {
				row.Name, row.Version, row.Resolved = printable(n.packageName()), n.version, n.resolved
			}
		}
		rows = append(rows, row)
	}
	p.addOthers(rows)
}

// maxOddity is about how much one row says of what is odd about it, in bytes.
const maxOddity = 2000

// join adds a message to others, unless they are long enough.
func join(messages, more string) string {
	switch {
	case messages == "":
		return more
	case len(messages) >= maxOddity:
		return messages
	}
	return messages + "; " + more
}

// addOthers adds rows for what has no node, in their place.
func (p *Project) addOthers(rows []Other) {
	if len(rows) == 0 {
		return
	}
	all := append(p.Others, rows...)
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &all[i], &all[j]
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.Source, b.Source))
	})
	p.Others = make([]Other, len(all))
	for k, i := range order {
		p.Others[k] = all[i]
		for _, n := range all[i].Nodes {
			p.Nodes[n].Other = k
		}
	}
}
