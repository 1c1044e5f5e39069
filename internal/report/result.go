package report

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"assay/internal/policy"
)

// A result is one thing that is told to a program which keeps a list of problems, such as a forge.
type result struct {
	*issue
	entry *entry
	rule  string       // ID under which it is filed: of the check that failed, else of the rule that spoke; escaped
	level policy.Level // what comes of it
	at    position
	purl  string // escaped; "" for what comes from no registry
	// fingerprint is the same in every run that finds the same, wherever the line has moved to, and of no other
	// result of the report: 32 hex digits, and ":2" and so on where two differ in bytes only.
	fingerprint string
}

// levels are the levels from the gravest on.
var levels = []policy.Level{policy.Deny, policy.Error, policy.Warn, policy.Note}

// results lists what is told of each package and other, the gravest first and else in the report's order. That a
// package carries only its registry's signature is told where warnings count.
func results(r *Report, o TextOptions) []result {
	var list []result
	seen := map[string]int{}
	add := func(e *entry, at position, purl string) {
		for i := range e.issues {
			x := &e.issues[i]
			rule, level := x.what, x.level
			switch check := x.word == "FAIL" || x.reason != ""; {
			case check && x.word != "FAIL":
				rule = "unchecked"
				fallthrough
			case check: // what a check found counts as much as the policy lets it
				level = levels[max(slices.Index(levels, level), weight(e.decision))]
			case x.what == "signed" && !o.FailOnWarn && (level == policy.Warn || level == policy.Note):
				continue
			case !slices.Contains(levels, level):
				level = policy.Error
			}
			sum := sha256.Sum256([]byte(strings.Join([]string{"assay/1", x.what, x.reason, e.spec, at.file}, "\x00")))
			fingerprint := hex.EncodeToString(sum[:16])
			seen[fingerprint]++
			if n := seen[fingerprint]; n > 1 {
				fingerprint += ":" + strconv.Itoa(n)
			}
			list = append(list, result{issue: x, entry: e, rule: rule, level: level, at: at, purl: purl, fingerprint: fingerprint})
		}
	}
	for i := range r.Packages {
		p := &r.Packages[i]
		add(packageEntry(p), positionOf(o, p.File, p.Line, p.Locations), EscapeASCII(p.PURL))
	}
	for i := range r.Others {
		x := &r.Others[i]
		add(otherEntry(x), positionOf(o, x.File, x.Line, x.Locations), "")
	}
	slices.SortStableFunc(list, func(x, y result) int { return slices.Index(levels, x.level) - slices.Index(levels, y.level) })
	return list
}

// weight is the index in levels of the gravest level that a decision leaves to what checks found.
func weight(d policy.Decision) int {
	if d == policy.Decision(policy.Allow) {
		return len(levels) - 1
	}
	return max(0, slices.Index(levels, policy.Level(d)))
}

// sentence is what the result says, on one line: whose package it is and what about it.
func (x *result) sentence() string {
	text := x.entry.spec + ": "
	if x.message != "" {
		return text + x.message
	}
	return text + x.label()
}

// details are further lines: values to compare, why the package is there, and what to do.
func (x *result) details(flags []string) []string {
	lines := []string{x.what}
	if x.reason != "" {
		lines[0] += " (" + x.reason + ")"
	}
	if x.issue.rule != "" {
		lines[0] += ", by the rule at " + x.issue.rule
	}
	if x.expected != "" || x.actual != "" {
		lines = append(lines, "Expected: "+orNothing(x.expected), "Actual: "+orNothing(x.actual))
	}
	if x.entry.why != "" {
		lines = append(lines, "Why it is there: "+x.entry.why)
	}
	if x.entry.from != "" {
		lines = append(lines, "From: "+x.entry.from)
	}
	if x.entry.built != "" {
		lines = append(lines, "Built from "+x.entry.built)
	}
	if x.next.text != "" {
		lines = append(lines, "Next: "+x.next.text)
		if x.next.command != "" {
			lines = append(lines, x.next.typed(flags))
		}
	}
	return lines
}

func orNothing(s string) string {
	if s == "" {
		return "(nothing)"
	}
	return s
}

// cut shortens text to at most n bytes, between two characters, and says that it did.
func cut(s string, n int) string {
	const mark = "…"
	if len(s) <= n {
		return s
	}
	end := 0
	for i := range s {
		if i > n-len(mark) {
			break
		}
		end = i
	}
	return s[:end] + mark
}
