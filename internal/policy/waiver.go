package policy

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"assay/internal/npm"
)

// A Waiver lets one rule's finding on some packages pass for a while.
type Waiver struct {
	Package Pattern
	Rule    string
	SHA512  string    // of the tarball, as an SRI; demanded of a waiver of "invalid"
	Reason  string    // for the reader
	By      string    // who answers for it
	Until   time.Time // the last day that it counts, which ends at midnight UTC
	Place
}

// warnBefore is how long before its end a waiver is told of.
const warnBefore = 7 * 24 * time.Hour

// end is when the waiver ends.
func (w *Waiver) end() time.Time { return w.Until.AddDate(0, 0, 1) }

// outlasts reports whether w counts before o, in whatever order the two stand.
func (w *Waiver) outlasts(o *Waiver) bool {
	return cmp.Or(w.Until.Compare(o.Until), strings.Compare(w.By, o.By), strings.Compare(w.Reason, o.Reason)) > 0
}

// waive turns findings that a waiver covers into notes. What an expired waiver covered stays as it is, and a
// finding of its own says why it speaks again.
func (p *Policy) waive(s *Subject, findings []Finding) []Finding {
	if len(p.Waivers) == 0 {
		return findings
	}
	var more []Finding
	told := make(map[*Waiver]bool)
	tell := func(w *Waiver, level Level, format string, args ...any) {
		if !told[w] {
			told[w] = true
			more = append(more, Finding{Rule: "waiver-expired", Level: level, Message: fmt.Sprintf(format, args...), File: w.File, Line: w.Line})
		}
	}
	for i := range findings {
		f := &findings[i]
		if f.Level == Note {
			continue
		}
		// Of several waivers the one that lasts longest counts, in whatever order they stand.
		var best *Waiver
		for k := range p.Waivers {
			w := &p.Waivers[k]
			if w.covers(s, f.Rule) && (best == nil || w.outlasts(best)) {
				best = w
			}
		}
		switch {
		case best == nil:
		case !s.Now.Before(best.end()):
			tell(best, Warn, "the waiver of %s by %s ended on %s", f.Rule, best.By, best.Until.Format(time.DateOnly))
		default:
			if best.end().Sub(s.Now) <= warnBefore {
				tell(best, Warn, "the waiver of %s by %s ends on %s", f.Rule, best.By, best.Until.Format(time.DateOnly))
			}
			f.Message = fmt.Sprintf("waived by %s until %s (%s): %s", best.By, best.Until.Format(time.DateOnly), best.Reason, f.Message)
			f.Level, f.File, f.Line = Note, best.File, best.Line
		}
	}
	return append(findings, more...)
}

// covers reports whether the waiver is about a rule's finding on the package. Where it names bytes, only a
// package of exactly those bytes is meant, by what the lockfile holds of it.
func (w *Waiver) covers(s *Subject, rule string) bool {
	if w.Rule != rule || !w.Package.Match(s.ID.Name, s.ID.Version) || w.Package.version != "" && s.ID.Version == "" {
		return false
	}
	if w.SHA512 == "" {
		return true
	}
	in, err := npm.ParseIntegrity(s.Integrity)
	if err != nil {
		return false
	}
	for _, h := range in.Find("sha512") {
		if (npm.Integrity{h}).String() == w.SHA512 {
			return len(in.Find("sha512")) == 1
		}
	}
	return false
}
