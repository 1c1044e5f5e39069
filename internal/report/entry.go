package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// An entry is one package or other dependency with what there is to say of it, escaped.
type entry struct {
	name     string // "left-pad", not escaped
	spec     string // "left-pad@1.3.0"
	file     string // "package-lock.json"
	place    string // "package-lock.json:12", else "node_modules/left-pad", else ""
	why      string // "app > left-pad (dev only)"
	from     string // where an other comes from, or a registry that is not npm's; ""
	built    string // "https://github.com/o/r@COMMIT by .github/workflows/x.yml" where that is verified
	decision policy.Decision
	verdict  verify.Verdict
	issues   []issue
	unbound  bool
	odd      string // reason of release-ref where releases are not usually built from such a ref; else ""
	// publisher is nil where none is verified.
	publisher *publisher.Publisher
}

// An issue is one reason why an entry is where it is: a check that ended badly, or a rule that spoke.
type issue struct {
	level            policy.Level // deny for a failed check, error for one that could not be carried out
	word             string       // FAIL, error, DENY, warn or note
	what             string       // ID of the check or the rule
	reason           string       // of the check
	rule             string       // "assay.yaml:5", "" for a built-in rule
	message          string
	expected, actual string
	next             step
}

// label names the issue on the line of its package: "evidence-complete (attestation-stripped)".
func (i *issue) label() string {
	s := i.what
	if i.reason != "" {
		s += " (" + i.reason + ")"
	}
	if i.rule != "" {
		s += " [" + i.rule + "]"
	}
	return s
}

const npmRegistry = "https://registry.npmjs.org"

func packageEntry(p *Package) *entry {
	e := &entry{
		name: p.Name, spec: EscapeASCII(p.Name + "@" + p.Version), file: Escape(p.File), publisher: p.Publisher,
		decision: p.Decision, verdict: p.Verdict, why: why(p.Path, p.Direct, p.Dev),
		place:   place(p.File, p.Line, p.Locations),
		unbound: p.Bound == "none" && (p.Verdict == verify.Provenance || p.Verdict == verify.Signed),
	}
	if p.Registry != npmRegistry {
		e.from = EscapeASCII(p.Registry)
	}
	if p.Publisher != nil {
		e.built = builtFrom(p.Publisher)
	}
	for _, c := range p.Checks {
		if c.ID == "release-ref" && oddRefs[c.Reason] {
			e.odd = c.Reason
		}
	}
	e.issues = issues(p.Checks, p.Findings, e)
	return e
}

func otherEntry(o *Other) *entry {
	e := &entry{
		name: o.Name, spec: EscapeASCII(o.Name), file: Escape(o.File), from: EscapeASCII(o.Resolved),
		decision: o.Decision, place: place(o.File, o.Line, o.Locations),
	}
	if o.Version != "" {
		e.spec = EscapeASCII(o.Name + "@" + o.Version)
	}
	if e.from == "" {
		e.from = EscapeASCII(o.Source)
	}
	e.issues = issues(nil, o.Findings, e)
	return e
}

// issues lists failed checks, then checks that could not be carried out, then findings that say more than
// those.
func issues(checks []verify.Result, findings []policy.Finding, e *entry) []issue {
	var out []issue
	given := slices.ContainsFunc(checks, func(c verify.Result) bool { return c.Reason == "bundle-given" })
	for _, status := range []verify.Status{verify.Fail, verify.Error} {
		for _, c := range checks {
			if c.Status != status {
				continue
			}
			i := issue{
				level: policy.Deny, word: "FAIL", what: Escape(c.ID), reason: Escape(c.Reason), message: Escape(c.Message),
				expected: EscapeASCII(c.Expected), actual: EscapeASCII(c.Actual),
				next: next(c, e.spec, e.file),
			}
			switch {
			case status == verify.Error:
				i.level, i.word = policy.Error, "error"
			case given:
				i.next = nextGiven(e.spec, e.file)
			}
			out = append(out, i)
		}
	}
	rows := len(out)
	for _, f := range findings {
		rule := ""
		if f.File != "" {
			rule = Escape(f.File) + ":" + strconv.Itoa(f.Line)
		}
		if row := rowOf(out[:rows], f); row != nil {
			row.rule = rule
			continue
		}
		word := map[policy.Level]string{policy.Deny: "DENY", policy.Error: "error", policy.Warn: "warn", policy.Note: "note"}[f.Level]
		i := issue{
			level: f.Level, word: cmp.Or(word, Escape(string(f.Level))), what: Escape(f.Rule), rule: rule, message: Escape(f.Message),
			next: nextRule(f, rule, e.spec, e.file, e.built != ""),
		}
		if f.Rule == "publisher" && rows > 0 {
			i.next = step{} // the publisher is missing because of what the checks found
		}
		out = append(out, i)
	}
	return out
}

// rowOf returns the row that a finding repeats, nil if it says something of its own.
func rowOf(rows []issue, f policy.Finding) *issue {
	for i := range rows {
		row := &rows[i]
		switch f.Rule {
		case "invalid", "unchecked":
			if Escape(f.Message) == row.what+": "+row.message {
				return row
			}
		case "unsigned":
			if row.what == "registry-signature" && row.reason == "signature-missing" {
				row.level = f.Level
				return row
			}
		}
	}
	return nil
}

// place says where a package stands in the project.
func place(file string, line int, locations []string) string {
	switch {
	case file != "" && line > 0:
		return Escape(file) + ":" + strconv.Itoa(line)
	case file != "":
		return Escape(file)
	case len(locations) > 0:
		return Escape(locations[0])
	}
	return ""
}

// maxWhy is how many names of a path are shown: its two ends say most.
const maxWhy = 12

func why(path []string, direct, dev bool) string {
	var parts []string
	for i, name := range path {
		if len(path) > maxWhy && i == maxWhy/2 {
			parts = append(parts, "("+count(len(path)-maxWhy)+" more)")
		}
		if name == "…" { // the inventory left some out
			name = "..."
		}
		if len(path) <= maxWhy || i < maxWhy/2 || i >= len(path)-maxWhy/2 {
			parts = append(parts, EscapeASCII(name))
		}
	}
	var also []string
	if direct {
		also = append(also, "asked for directly")
	}
	if dev {
		also = append(also, "for development only")
	}
	s := strings.Join(parts, " > ")
	if s != "" && len(also) > 0 {
		return s + " (" + strings.Join(also, ", ") + ")"
	}
	return s + strings.Join(also, ", ")
}

// bad returns the issues that put the entry where it is.
func (e *entry) bad() []*issue {
	want := policy.Level(e.decision)
	if e.verdict == verify.Invalid && e.decision != policy.Decision(policy.Deny) {
		want = policy.Deny // let through by the policy: what counts is what fails
	}
	var out []*issue
	for i := range e.issues {
		if e.issues[i].level == want {
			out = append(out, &e.issues[i])
		}
	}
	return out
}

// A saying is what one issue says, or several that say the same.
type saying struct {
	*issue        // the first of them
	at     int    // where it is among the issues
	names  string // of all of them: "workflow-identity, source-repository"
}

// sayings puts issues together that have the same words and values.
func sayings(issues []*issue) []saying {
	var list []saying
	for i, x := range issues {
		j := slices.IndexFunc(list, func(s saying) bool {
			return s.message == x.message && s.expected == x.expected && s.actual == x.actual
		})
		if j < 0 {
			list = append(list, saying{x, i, x.what})
		} else if !slices.Contains(strings.Split(list[j].names, ", "), x.what) {
			list[j].names += ", " + x.what
		}
	}
	return list
}

// besides returns the issues that are not among the bad ones.
func (e *entry) besides() []*issue {
	bad := e.bad()
	var out []*issue
	for i := range e.issues {
		if x := &e.issues[i]; !slices.Contains(bad, x) {
			out = append(out, x)
		}
	}
	return out
}

// says reports whether two issues are the same words about the same rule or check.
func (i *issue) says(o *issue) bool {
	return i.word == o.word && i.what == o.what && i.reason == o.reason && i.rule == o.rule && i.message == o.message
}

// trouble is equal for entries that need the same words, values aside.
func (e *entry) trouble() string {
	var b strings.Builder
	for _, i := range e.bad() {
		fmt.Fprintf(&b, "%q %q %q %q %q ", i.word, i.what, i.reason, i.rule, i.message)
	}
	return b.String()
}

// alike groups entries by key: groups in the order of their first entries, entries in theirs.
func alike(entries []*entry, key func(*entry) string) [][]*entry {
	index := map[string]int{}
	var groups [][]*entry
	for _, e := range entries {
		k := key(e)
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], e)
	}
	return groups
}

// question is equal for entries that could not be told for one reason.
func (e *entry) question() string {
	i := e.first()
	check := i.what
	if i.reason != "" {
		check = "" // the registry that does not answer leaves different checks open
	}
	return fmt.Sprintf("%q %q %q %q", check, i.reason, i.rule, e.decision)
}

// allOf is the issue of a group with every check that ended for the group's reason, in order.
func allOf(group []*entry) *issue {
	i := *group[0].first()
	if i.reason == "" {
		return &i
	}
	var checks []string
	for _, id := range verify.IDs() {
		if slices.ContainsFunc(group, func(e *entry) bool {
			return slices.ContainsFunc(e.issues, func(x issue) bool { return x.what == id && x.reason == i.reason && x.level == policy.Error })
		}) {
			checks = append(checks, id)
		}
	}
	if len(checks) > 0 {
		i.what = strings.Join(checks, ", ")
	}
	return &i
}

// first returns the issue that says best why nobody could tell: a check before a rule.
func (e *entry) first() *issue {
	for i := range e.issues {
		if e.issues[i].level == policy.Error {
			return &e.issues[i]
		}
	}
	for i := range e.issues {
		if e.verdict == verify.Unchecked {
			return &e.issues[i]
		}
	}
	return &issue{level: policy.Error, word: "error", what: "unchecked", message: "not every check that provenance needs could be carried out"}
}

// common returns the sentence that a group shares and, where the packages' own details differ, the first
// of them.
func common(group []*entry) (text, such string) {
	text = group[0].first().message
	same := text
	for _, e := range group[1:] {
		m := e.first().message
		n := 0
		for n < len(same) && n < len(m) && same[n] == m[n] {
			n++
		}
		same = same[:n]
	}
	if same == text {
		return text, ""
	}
	i := strings.LastIndex(same, " (")
	if i <= 0 {
		return text, ""
	}
	return text[:i], strings.TrimSuffix(text[i+2:], ")")
}
