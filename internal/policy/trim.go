package policy

import (
	"slices"

	"assay/internal/npm"
)

// Bounds of what is kept of a history. Most packages have fewer versions than maxRows altogether.
const (
	maxRows      = 256
	precedents   = 8   // of each kind, so that some are left where an advisory takes others away
	maxLines     = 100 // release lines of which the last version with provenance is kept
	keptManifest = 3   // manifests of the versions before, likewise
)

// Trim lets go of what no rule looks at of the subject's history: a run holds the histories of all its packages at
// once, and how many versions a package has is for others to say. What is decided stays the same. It is to be
// called before the precedents are verified. Of each kind of precedent several are kept, for those that do not verify, and
// those that advisories take away.
//
// Manifests of other versions than those in [Subject.Compared] are let go of, too.
func (s *Subject) Trim() {
	own := s.own()
	if own == nil {
		if s.History != nil {
			s.History.Versions = nil
		}
		return
	}
	h := s.History
	keep, full := make(map[*Version]bool), make(map[*Version]bool)
	last := func(to map[*Version]bool, versions []*Version, n int, wanted func(*Version) bool) {
		for _, v := range slices.Backward(versions) {
			if n == 0 {
				return
			}
			if wanted == nil || wanted(v) {
				to[v] = true
				n--
			}
		}
	}
	earlier := s.earlier()
	line := inLine(earlier, npm.ReleaseLine(s.ID.Version))
	for _, v := range s.Compared() {
		full[v] = true
	}
	if len(h.Versions) > maxRows {
		for _, versions := range [][]*Version{line, earlier, attestedLines(earlier)} {
			last(keep, versions, precedents, had)
			for i, v := range versions {
				if keep[v] && i+1 < len(versions) {
					keep[versions[i+1]] = true
				}
			}
			if first := firstOf(versions, had); first != nil {
				keep[first] = true
			}
		}
		lines := make(map[string]bool)
		for _, v := range slices.Backward(earlier) {
			if l := npm.ReleaseLine(v.Version); had(v) && !lines[l] && len(lines) < maxLines {
				lines[l], keep[v] = true, true
			}
		}
		if !own.at().IsZero() {
			around := s.around(own)
			for _, v := range around[:min(len(around), maxRows)] {
				keep[v] = true
			}
			for _, v := range s.past(own) {
				keep[v] = true
			}
		}
		for _, v := range []*Version{s.firstBy(own.User), s.beforeAccount(own.User)} {
			if v != nil {
				keep[v] = true
			}
		}
	}
	var kept []Version
	for i := range h.Versions {
		v := &h.Versions[i]
		if len(h.Versions) > maxRows && !keep[v] && !full[v] {
			continue
		}
		row := *v
		if !full[v] {
			row.Manifest = Manifest{}
		}
		kept = append(kept, row)
	}
	h.Versions = slices.Clip(kept)
}

// Compared returns the versions whose manifests the rules look at: the subject's own, those that the project held, and
// some of the latest before it.
func (s *Subject) Compared() []*Version {
	own := s.own()
	if own == nil {
		return nil
	}
	list := []*Version{own}
	add := func(v *Version) {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	earlier := s.earlier()
	for _, versions := range [][]*Version{inLine(earlier, npm.ReleaseLine(s.ID.Version)), earlier} {
		for _, v := range versions[max(0, len(versions)-keptManifest):] {
			add(v)
		}
	}
	held := s.before()
	for i := range s.History.Versions {
		if v := &s.History.Versions[i]; slices.Contains(held, v.Version) {
			add(v)
		}
	}
	return list
}
