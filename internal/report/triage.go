package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/internal/policy"
	"assay/internal/verify"
)

// An auditText is an audit in words, its entries sorted by what a reader does about them.
type auditText struct {
	*printer
	o               TextOptions
	r               *Report
	packages        []*entry // of Report.Packages, in that order
	others          []*entry // of Report.Others, in that order
	deny, tolerated []*entry
	unknown, warn   []*entry
	at              map[*entry]position
}

// A position is the place in a file that an entry stands at, as forms for machines name it.
type position struct {
	file string // from the root of the repository where it lies in it, with slashes; never empty, hostile
	line int    // from 1
}

// positionOf is where a package or another dependency stands. One that no file holds stands where it lies, and one
// that was asked for by name at the top of the manifest that may ask for it: forges show nothing without a place.
func positionOf(o TextOptions, file string, line int, locations []string) position {
	if file == "" && len(locations) > 0 {
		file, line = locations[0], 1
	}
	if file == "" {
		file, line = "package.json", 1
	}
	if o.Locate != nil {
		file = o.Locate(file)
	}
	return position{cmp.Or(file, "package.json"), max(line, 1)}
}

func newAuditText(w io.Writer, r *Report, o TextOptions) *auditText {
	a := &auditText{printer: newPrinter(w, o), o: o, r: r, packages: make([]*entry, len(r.Packages)), others: make([]*entry, len(r.Others))}
	a.at = make(map[*entry]position, len(r.Packages)+len(r.Others))
	for i := range r.Packages {
		p := &r.Packages[i]
		a.packages[i] = packageEntry(p)
		a.at[a.packages[i]] = positionOf(o, p.File, p.Line, p.Locations)
		a.sort(a.packages[i])
	}
	for i := range r.Others {
		x := &r.Others[i]
		a.others[i] = otherEntry(x)
		a.at[a.others[i]] = positionOf(o, x.File, x.Line, x.Locations)
		a.sort(a.others[i])
	}
	return a
}

// sort puts an entry where the reader will act on it. The rest is only counted.
func (a *auditText) sort(e *entry) {
	switch {
	case e.decision == policy.Decision(policy.Deny):
		a.deny = append(a.deny, e)
	case e.decision == policy.Decision(policy.Error):
		a.unknown = append(a.unknown, e)
	case e.verdict == verify.Invalid:
		a.tolerated = append(a.tolerated, e)
	case e.verdict == verify.Unchecked:
		a.unknown = append(a.unknown, e)
	default:
		a.warn = append(a.warn, e)
	}
}

// headline says what was looked at and, where there is something to act on, how much that is.
func (a *auditText) headline() []string {
	subject := Escape(a.o.Subject)
	if subject != "" {
		subject += ": "
	}
	text := subject + plural(len(a.r.Packages), "package", "packages")
	if n := len(a.r.Others); n > 0 {
		text += " from registries, " + count(n) + " from elsewhere"
	}
	if a.o.Elapsed > 0 {
		text += " (" + duration(a.o.Elapsed) + ")"
	}
	lines := []string{text}
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{len(a.deny), "denied"}, {len(a.tolerated), "let through though checks fail"}, {len(a.unknown), "could not be checked"}} {
		if x.n > 0 {
			parts = append(parts, count(x.n)+" "+x.what)
		}
	}
	if len(parts) > 0 {
		lines = append(lines, strings.Join(parts, ", "))
	}
	return lines
}

// steps are what to do about issues: the first step for what the checks found, the first for what the rules
// say. One damage fails many checks, and the first in their order is nearest to its cause.
func steps(issues []*issue) []step {
	var list []step
	var told [2]bool
	for _, i := range issues {
		kind := 0
		if i.reason == "" {
			kind = 1
		}
		if i.next.text != "" && !told[kind] {
			told[kind] = true
			list = append(list, i.next)
		}
	}
	return list
}

// A group is entries that one thing is to be said of.
type group struct {
	word    string // warn or note
	issue   *issue // of the first entry
	entries []*entry
}

// lookAt groups what is let through and yet needs a look, by the rule that spoke: warnings before notes, large
// groups first. That a package carries only the registry's signature is no such thing; the summary counts those.
func (a *auditText) lookAt() []group {
	type key struct{ word, what, reason, rule, message string }
	index := map[key]int{}
	var groups []group
	for _, e := range a.warn {
		for i := range e.issues {
			x := &e.issues[i]
			if x.what == "signed" && !a.o.FailOnWarn || x.level != policy.Warn && !(x.level == policy.Note && a.o.Verbose) {
				continue
			}
			word := "warn"
			if x.level == policy.Note {
				word = "note"
			}
			k := key{word, x.what, x.reason, x.rule, x.message}
			j, ok := index[k]
			if !ok {
				j = len(groups)
				index[k] = j
				groups = append(groups, group{word: word, issue: x})
			}
			groups[j].entries = append(groups[j].entries, e)
		}
	}
	slices.SortStableFunc(groups, func(x, y group) int {
		return cmp.Or(cmp.Compare(y.word, x.word), cmp.Compare(len(y.entries), len(x.entries)))
	})
	return groups
}

// inGroups lists the entries of groups, each once.
func inGroups(groups []group) []*entry {
	var list []*entry
	seen := map[*entry]bool{}
	for _, g := range groups {
		for _, e := range g.entries {
			if !seen[e] {
				seen[e] = true
				list = append(list, e)
			}
		}
	}
	return list
}

// bytesSeen says of how many packages bytes were looked at, and agree; nothing where nobody asked for that.
func (a *auditText) bytesSeen() []string {
	tarballs, installed := 0, 0
	for i := range a.r.Packages {
		for _, c := range a.r.Packages[i].Checks {
			if c.Status == verify.Pass && c.ID == "tarball-integrity" {
				tarballs++
			}
			if c.Status == verify.Pass && c.ID == "installed-files" {
				installed++
			}
		}
	}
	var lines []string
	if tarballs > 0 {
		lines = append(lines, plural(tarballs, "tarball was", "tarballs were")+" fetched and "+verb(tarballs, "has", "have")+" the digest that the registry names.")
	}
	if installed > 0 {
		lines = append(lines, "The files on disk of "+plural(installed, "package", "packages")+" are those of "+verb(installed, "its tarball", "their tarballs")+".")
	}
	return lines
}

// An aside concerns the run itself, escaped.
type aside struct{ code, text string }

// aboutRun lists what concerns the run itself.
func (a *auditText) aboutRun() []aside {
	var list []aside
	if a.r.Trust.Stale != "" {
		text := "the trust root could not be refreshed; the last one that verified is used"
		if a.r.Trust.Detail != "" {
			text += " (" + Escape(a.r.Trust.Detail) + ")"
		}
		list = append(list, aside{Escape(a.r.Trust.Stale), text})
	}
	for _, n := range a.r.Notes {
		list = append(list, aside{Escape(n.Code), Escape(n.Message)})
	}
	if n := a.r.Summary.TimeUnknown; n > 0 {
		list = append(list, aside{"time-unknown", "the registry's key that signed " + plural(n, "package", "packages") +
			" has expired since, and nothing here says when it signed; --strict-time asks the registry"})
	}
	unbound := 0
	for _, e := range a.warn {
		if e.unbound {
			unbound++
		}
	}
	if unbound > 0 {
		list = append(list, aside{"unbound", "nothing here says which bytes " + plural(unbound, "package is", "packages are") +
			" (no sha512 in the lockfile, no tarball): what is said of " + verb(unbound, "it", "them") + " holds for the bytes that the registry names today"})
	}
	for _, g := range a.tells() {
		list = append(list, aside{g.reason, plural(g.n, "package", "packages") + ": " + g.message})
	}
	return list
}

// A tell is something that passing checks have to tell.
type tell struct {
	reason, message string
	n               int
}

// tells counts what passing checks tell, other than what is told elsewhere.
func (a *auditText) tells() []tell {
	var out []tell
	for i := range a.r.Packages {
		for _, c := range a.r.Packages[i].Checks {
			if c.Status != verify.Pass || c.Reason == "" || c.ID == "release-ref" || c.Reason == "time-unknown" {
				continue
			}
			j := slices.IndexFunc(out, func(o tell) bool { return o.reason == Escape(c.Reason) })
			if j < 0 {
				j = len(out)
				out = append(out, tell{Escape(c.Reason), Escape(c.Message), 0})
			}
			out[j].n++
		}
	}
	slices.SortStableFunc(out, func(x, y tell) int { return cmp.Compare(x.reason, y.reason) })
	return out
}

func (a *auditText) conclusion() [][]span {
	s := a.r.Summary
	exit := a.r.Exit()
	var head []span
	n := len(a.deny)
	var undecided, tolerated []*entry
	for _, e := range a.unknown {
		if e.decision == policy.Decision(policy.Error) {
			undecided = append(undecided, e)
		} else {
			tolerated = append(tolerated, e)
		}
	}
	switch exit {
	case 1:
		head = []span{st(denied, "Denied"), t(fmt.Sprintf(": %s. Do not install or run %s before you know why (exit 1).",
			things(a.deny), verb(n, "it", "them")))}
		if len(undecided) > 0 {
			head = append(head, t(fmt.Sprintf(" %s could not be checked.", things(undecided))))
		}
	case 3:
		head = []span{t("Nothing is denied, but "), st(unknown, things(undecided)), t(" could not be checked, so there is no answer yet (exit 3).")}
	default:
		head = []span{st(bold, "Nothing is denied"), t(" (exit 0).")}
		if a.o.FailOnWarn && a.r.Warns() {
			head = []span{st(bold, "Nothing is denied"), t(", and there are warnings, which count here (exit 1).")}
		}
	}
	out := [][]span{head}
	var rest []string
	if s.Packages == 0 {
		rest = append(rest, "There was no package from a registry to look at.")
	}
	if len(a.tolerated) > 0 {
		rest = append(rest, fmt.Sprintf("%s %s checks, and the policy lets %s through.", things(a.tolerated), verb(len(a.tolerated), "fails", "fail"), verb(len(a.tolerated), "it", "them")))
	}
	if len(tolerated) > 0 {
		rest = append(rest, fmt.Sprintf("%s could not be checked, and the policy lets %s through.", things(tolerated), verb(len(tolerated), "it", "them")))
	}
	if s.Signed > 0 {
		rest = append(rest, fmt.Sprintf("%s only the registry's signature: the registry vouches for the bytes, nobody for who built them.",
			plural(s.Signed, "package carries", "packages carry")))
	}
	if s.Unsigned > 0 {
		rest = append(rest, fmt.Sprintf("%s neither a signature nor provenance: nobody vouches for %s.",
			plural(s.Unsigned, "package carries", "packages carry"), verb(s.Unsigned, "it", "them")))
	}
	if s.Provenance > 0 {
		rest = append(rest, fmt.Sprintf("For %s it is verified which workflow built %s, not that the workflow was honest.",
			plural(s.Provenance, "package", "packages"), verb(s.Provenance, "it", "them")))
	}
	if len(rest) > 0 {
		out = append(out, spans(strings.Join(rest, " ")))
	}
	return out
}

// things counts entries: "3 packages", "3 packages, 1 of them from no registry".
func things(entries []*entry) string {
	others := 0
	for _, e := range entries {
		if e.verdict == "" {
			others++
		}
	}
	text := plural(len(entries), "package", "packages")
	switch {
	case others == 0:
		return text
	case others == len(entries):
		return text + " from no registry"
	}
	return text + " (" + count(others) + " from no registry)"
}
