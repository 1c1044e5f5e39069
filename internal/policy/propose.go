package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// A Found is what was verified of one package that a project uses.
type Found struct {
	ID        npm.ID
	Verdict   verify.Verdict
	Publisher *publisher.Publisher // nil unless Verdict is provenance
	// News is what the policy says of the version for being new to the project; see News.
	News []string
}

// News returns what findings say of a version because the project does not hold it yet: that it is young, or lost
// what versions before it had, or brings along what they did not. Whoever pins the version ends that, so it is to be
// accepted by somebody who saw it.
func News(findings []Finding) (news []string) {
	for _, f := range findings {
		switch f.Rule {
		case "min-age", "manifest-change", "burst", "downgrade-line", "downgrade-package", "history":
			if f.Level == Warn || f.Level == Error || f.Level == Deny {
				news = append(news, f.Rule+": "+f.Message)
			}
		}
	}
	return news
}

// A Proposal is a change to one release line's pin.
type Proposal struct {
	Package string
	Old     *Pin // nil: it was not pinned
	New     *Pin // nil: the project uses none of it any more
	// Weaker says that what is pinned now would not have been accepted: a person has to say so.
	Weaker bool
	// Changes and Doubts say why a person has to look; both are empty for what can be written down as it is.
	Changes []Change
	Doubts  []string
	// Moved is the old repository's URL where the publisher's repository is another now, "" else.
	Moved string
}

// Asks reports whether a person has to answer before the change is made.
func (p *Proposal) Asks() bool { return p.Weaker || len(p.Doubts) > 0 }

// Propose compares the pins with what was verified of everything that the project uses, and returns what to change,
// sorted by package and release line. disputed are lines that two sides of a merge pin differently. What is invalid
// or could not be checked is not proposed: its pins stay as they are.
func Propose(old *Lock, found []Found, disputed map[string]Dispute) []Proposal {
	type line struct{ name, line string }
	lines := make(map[line][]Found)
	unsettled := make(map[line]bool)
	for _, f := range found {
		at := line{f.ID.Name, npm.ReleaseLine(f.ID.Version)}
		lines[at] = append(lines[at], f)
		if rank(f.Verdict) == 0 {
			unsettled[at] = true
		}
	}
	var list []Proposal
	for at, found := range lines {
		if unsettled[at] {
			continue
		}
		p := Proposal{Package: at.name, New: newPin(at.line, found)}
		if d, ok := disputed[at.name+" "+at.line]; ok {
			p.Doubts = append(p.Doubts, "the two sides of the merge do not agree about it", "our side has "+d.Ours, "their side has "+d.Theirs)
		} else if pin := old.line(at.name, at.line); pin != nil {
			p.Old = pin
		}
		p.compare(found)
		for _, f := range found {
			for _, doubt := range f.News {
				if len(found) > 1 {
					doubt = f.ID.Version + ": " + doubt
				}
				if !slices.Contains(p.Doubts, doubt) {
					p.Doubts = append(p.Doubts, doubt)
				}
			}
		}
		if p.Old == nil && old != nil {
			p.compareLines(old.Pins[at.name], found)
		}
		if p.Old == nil || !p.Old.equal(p.New) {
			list = append(list, p)
		}
	}
	if old != nil {
		for name, pins := range old.Pins {
			for i := range pins {
				if _, used := lines[line{name, pins[i].Line}]; !used {
					list = append(list, Proposal{Package: name, Old: &pins[i]})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b Proposal) int {
		return cmp.Or(strings.Compare(a.Package, b.Package), compareLines(a.Line(), b.Line()))
	})
	return list
}

// compareLines holds a release line that is not pinned to what is of the package's other lines: one that is weaker
// takes somebody to accept it.
func (p *Proposal) compareLines(others []Pin, found []Found) {
	least := verify.Unsigned
	var accepted []Pinned
	for i := range others {
		if rank(others[i].Floor) > rank(least) {
			least = others[i].Floor
		}
		accepted = append(accepted, others[i].Publishers...)
	}
	if rank(p.New.Floor) < rank(least) {
		p.Weaker = true
		p.Changes = append(p.Changes, Change{"floor of other lines", string(least), string(p.New.Floor), true})
		return
	}
	for _, f := range found {
		if len(accepted) == 0 || f.Publisher == nil {
			continue
		}
		if _, changes := nearest(accepted, f.Publisher, f.ID); drifts(changes) > 0 {
			p.Weaker = true
			p.Changes = append(p.Changes, changes...)
		}
	}
}

// Line is the release line that the proposal is about.
func (p *Proposal) Line() string {
	if p.New != nil {
		return p.New.Line
	}
	return p.Old.Line
}

func newPin(line string, found []Found) *Pin {
	pin := &Pin{Line: line, Floor: verify.Provenance}
	for _, f := range found {
		if !slices.Contains(pin.Versions, f.ID.Version) {
			pin.Versions = append(pin.Versions, f.ID.Version)
		}
		if rank(f.Verdict) < rank(pin.Floor) {
			pin.Floor = f.Verdict
		}
	}
	slices.SortFunc(pin.Versions, npm.CompareVersions)
	return pin
}

// compare fills in the new pin's publishers, and says what a person has to look at.
func (p *Proposal) compare(found []Found) {
	pin := p.New
	if p.Old != nil && rank(pin.Floor) < rank(p.Old.Floor) {
		p.Weaker = true
		p.Changes = append(p.Changes, Change{"floor", string(p.Old.Floor), string(pin.Floor), true})
	}
	if pin.Floor != verify.Provenance {
		return
	}
	for _, f := range found {
		if p.Old != nil && len(p.Old.Publishers) > 0 {
			accepted, changes := nearest(p.Old.Publishers, f.Publisher, f.ID)
			if drifts(changes) == 0 {
				// Still the accepted one: its pattern of refs and its events stay, its names are today's.
				kept := *accepted
				kept.At, kept.Repository, kept.Owner = 0, f.Publisher.Repository, f.Publisher.Owner
				if !slices.Contains(kept.Events, f.Publisher.Event) {
					kept.Events = append(slices.Clone(kept.Events), f.Publisher.Event)
					slices.Sort(kept.Events)
				}
				p.Changes = append(p.Changes, changes...)
				pin.addPublisher(kept)
				continue
			}
			p.Weaker = true
			p.Changes = append(p.Changes, changes...)
			if !strings.EqualFold(accepted.Repository, f.Publisher.Repository) {
				p.Moved = accepted.Repository
			}
		}
		accepted, doubt := Accept(f.Publisher, f.ID)
		if doubt != "" && !slices.Contains(p.Doubts, doubt) {
			p.Doubts = append(p.Doubts, doubt)
		}
		pin.addPublisher(accepted)
	}
}

// addPublisher adds a publisher unless it is there. Two that differ in their events only are one.
func (p *Pin) addPublisher(a Pinned) {
	for i := range p.Publishers {
		b := &p.Publishers[i]
		x, y := a, *b
		x.Events, y.Events, x.At, y.At = nil, nil, 0, 0
		if slices.Equal(x.fields(), y.fields()) {
			for _, e := range a.Events {
				if !slices.Contains(b.Events, e) {
					b.Events = append(slices.Clone(b.Events), e)
				}
			}
			slices.Sort(b.Events)
			return
		}
	}
	p.Publishers = append(p.Publishers, a)
}

func (p *Pin) equal(o *Pin) bool {
	var a, b bytes.Buffer
	p.format(&a)
	o.format(&b)
	return bytes.Equal(a.Bytes(), b.Bytes())
}

// line returns a release line's pin, nil if there is none. A nil Lock has none.
func (l *Lock) line(name, line string) *Pin {
	if l == nil {
		return nil
	}
	for i := range l.Pins[name] {
		if p := &l.Pins[name][i]; p.Line == line {
			return p
		}
	}
	return nil
}

// With returns the pins with proposals carried out; l stays as it is. A nil Lock is an empty one.
func (l *Lock) With(proposals []Proposal) *Lock {
	next := &Lock{Pins: make(map[string][]Pin)}
	if l != nil {
		next.File = l.File
		for name, pins := range l.Pins {
			next.Pins[name] = slices.Clone(pins)
		}
	}
	for i := range proposals {
		p := &proposals[i]
		pins := slices.DeleteFunc(next.Pins[p.Package], func(pin Pin) bool { return pin.Line == p.Line() })
		if p.New != nil {
			pins = append(pins, *p.New)
		}
		slices.SortFunc(pins, func(a, b Pin) int { return compareLines(a.Line, b.Line) })
		if next.Pins[p.Package] = pins; len(pins) == 0 {
			delete(next.Pins, p.Package)
		}
	}
	return next
}

// A Dispute is what the two sides of a merge say of a release line, in words.
type Dispute struct{ Ours, Theirs string }

// Merge reads an assay.lock that git left merge conflicts in: both sides' pins together, without the release lines
// that the two pin differently, which are returned as "name line".
func Merge(data []byte, file string) (merged *Lock, disputed map[string]Dispute, err error) {
	ours, theirs, err := sides(data, file)
	if err != nil {
		return nil, nil, err
	}
	a, err := ParseLock(ours, file)
	if err != nil {
		return nil, nil, fmt.Errorf("our side of the merge: %w", err)
	}
	b, err := ParseLock(theirs, file)
	if err != nil {
		return nil, nil, fmt.Errorf("their side of the merge: %w", err)
	}
	merged, disputed = &Lock{File: file, Pins: make(map[string][]Pin)}, make(map[string]Dispute)
	for _, side := range []struct{ own, other *Lock }{{a, b}, {b, a}} {
		for _, name := range slices.Sorted(maps.Keys(side.own.Pins)) {
			for _, pin := range side.own.Pins[name] {
				other := side.other.line(name, pin.Line)
				switch {
				case merged.line(name, pin.Line) != nil:
				case other == nil || other.equal(&pin):
					merged.Pins[name] = append(merged.Pins[name], pin)
				case samePublishers(other, &pin):
					// Both sides moved to other versions by the same publishers.
					for _, v := range other.Versions {
						if !slices.Contains(pin.Versions, v) {
							pin.Versions = append(slices.Clone(pin.Versions), v)
						}
					}
					merged.Pins[name] = append(merged.Pins[name], pin)
				default:
					disputed[name+" "+pin.Line] = Dispute{a.line(name, pin.Line).Describe(), b.line(name, pin.Line).Describe()}
				}
			}
		}
	}
	for _, pins := range merged.Pins {
		slices.SortFunc(pins, func(a, b Pin) int { return compareLines(a.Line, b.Line) })
	}
	return merged, disputed, nil
}

func samePublishers(a, b *Pin) bool {
	x, y := *a, *b
	x.Versions, y.Versions = nil, nil
	return x.equal(&y)
}

// sides takes the two sides of a merge apart.
func sides(data []byte, file string) (ours, theirs []byte, err error) {
	const both, our, base, their = 0, 1, 2, 3
	state, line := both, 0
	for text := range bytes.Lines(data) {
		line++
		next := -1
		switch {
		case bytes.HasPrefix(text, []byte("<<<<<<<")) && state == both:
			next = our
		case bytes.HasPrefix(text, []byte("|||||||")) && state == our:
			next = base
		case bytes.HasPrefix(text, []byte("=======")) && (state == our || state == base):
			next = their
		case bytes.HasPrefix(text, []byte(">>>>>>>")) && state == their:
			next = both
		case conflict(text) > 0:
			return nil, nil, &SyntaxError{file, line, 0, "merge conflict markers in an order that git does not write"}
		}
		if next >= 0 {
			state = next
			continue
		}
		if state == both || state == our {
			ours = append(ours, text...)
		}
		if state == both || state == their {
			theirs = append(theirs, text...)
		}
	}
	if state != both {
		return nil, nil, &SyntaxError{file, line, 0, "a merge conflict does not end"}
	}
	return ours, theirs, nil
}
