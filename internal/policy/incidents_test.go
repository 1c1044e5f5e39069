package policy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/incidents.md anew")

// An incident is a theft that really happened, as far as public sources tell.
type incident struct {
	id, when, what string
	sources        string
	cases          []incidentCase
	unseen         string // what of it no rule here sees; "" for nothing that another rule does not make up for
}

// An incidentCase is one version of an incident, with one reading for each way in which open facts can be read.
type incidentCase struct {
	what     string
	readings []reading
}

// A reading is a story whose first package is the one that the case is about, and what the rules must say of it:
// V, L, P, W, R, A, S, N as in the table of the documentation; B blocks, F warns, - is silent.
type reading struct {
	name  string // what is assumed; "" where nothing is open
	story func(t testing.TB) *story
	marks string // in the order of columns
}

// columns are the rules of the table, in order.
var columns = []struct{ letter, title string }{
	{"V", "`invalid`"}, {"L", "`downgrade-line`"}, {"P", "`downgrade-package`"}, {"W", "`drift` by who"}, {"R", "`drift` by ref or event"},
	{"A", "`min-age`"}, {"S", "`manifest-change`"}, {"N", "`burst`"},
}

func at(packages ...func(testing.TB) *tale) func(testing.TB) *story { return on("", packages...) }

// on is a story at a time of its own.
func on(now string, packages ...func(testing.TB) *tale) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := &story{now: now}
		for _, p := range packages {
			s.packages = append(s.packages, p(t))
		}
		return s
	}
}

// alike is the same package again under other names, in the same run.
func alike(names []string, make func(name string) func(testing.TB) *tale) []func(testing.TB) *tale {
	var list []func(testing.TB) *tale
	for _, n := range names {
		list = append(list, make(n))
	}
	return list
}

// marks are what the rules said of a package, in the order of columns.
func (o told) marks() string {
	m := make([]byte, len(columns))
	for i := range m {
		m[i] = '-'
	}
	set := func(letter string, level Level) {
		i := slices.IndexFunc(columns, func(c struct{ letter, title string }) bool { return c.letter == letter })
		switch {
		case level == Deny:
			m[i] = 'B'
		case level == Warn && m[i] == '-':
			m[i] = 'F'
		}
	}
	for _, f := range o.findings {
		switch f.Rule {
		case "invalid":
			set("V", f.Level)
		case "downgrade-line":
			set("L", f.Level)
			if ofPin(f) {
				set("W", f.Level)
				set("R", f.Level)
			}
		case "downgrade-package":
			set("P", f.Level)
		case "drift":
			_, changes, _ := strings.Cut(f.Message, ": ")
			for _, c := range strings.Split(changes, "; ") {
				if strings.HasPrefix(c, "ref ") || strings.HasPrefix(c, "event ") {
					set("R", f.Level)
				} else {
					set("W", f.Level)
				}
			}
		case "min-age":
			set("A", f.Level)
		case "manifest-change":
			set("S", f.Level)
		case "burst":
			set("N", f.Level)
		}
	}
	return string(m)
}

// TestIncidents holds the rules to what must have been said of each incident shortly after it became public.
func TestIncidents(t *testing.T) {
	for _, in := range incidents {
		for _, c := range in.cases {
			for _, r := range c.readings {
				t.Run(strings.TrimSpace(in.id+" "+c.what+" "+r.name), func(t *testing.T) {
					got := r.story(t).tell(t)[0]
					if got.marks() != r.marks {
						t.Errorf("VLPWRASN: %s, want %s\n%s", got.marks(), r.marks, got)
					}
				})
			}
		}
	}
}

const incidentsDoc = "../../docs/incidents.md"

// TestIncidentsDocumentation holds the documentation's table to what the rules say.
func TestIncidentsDocumentation(t *testing.T) {
	table := incidentTable(t)
	doc, err := os.ReadFile(incidentsDoc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- table: go test ./internal/policy -run TestIncidentsDocumentation -update -->\n", "<!-- end of table -->\n"
	head, rest, ok := bytes.Cut(doc, []byte(begin))
	old, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", incidentsDoc)
	}
	if string(old) == table {
		return
	}
	if !*update {
		t.Fatalf("the table is not what the rules say; run the test with -update\n%s", table)
	}
	if err := os.WriteFile(incidentsDoc, slices.Concat(head, []byte(begin), []byte(table), []byte(end), tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func incidentTable(t testing.TB) string {
	var b strings.Builder
	b.WriteString("| | When, what |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.letter)
	}
	b.WriteString(" Seen by none of them | Sources |\n| --- | --- |" + strings.Repeat(" --- |", len(columns)+2) + "\n")
	for _, in := range incidents {
		cases := in.cases
		if len(cases) == 0 {
			cases = []incidentCase{{}}
		}
		for i, c := range cases {
			what := c.what
			if i == 0 {
				what = strings.TrimSpace(in.when + ": " + in.what + " " + c.what)
			}
			fmt.Fprintf(&b, "| %s | %s |", in.id, what)
			for column := range columns {
				var said []string
				for _, r := range c.readings {
					mark := string(r.story(t).tell(t)[0].marks()[column])
					if mark == "-" {
						mark = "–"
					}
					if !slices.Contains(said, mark) {
						said = append(said, mark)
					}
				}
				if len(said) == 0 {
					said = []string{"–"}
				}
				fmt.Fprintf(&b, " %s |", strings.Join(said, " or "))
			}
			unseen, sources := in.unseen, in.sources
			if i > 0 {
				unseen, sources = "", ""
			}
			fmt.Fprintf(&b, " %s | %s |\n", unseen, sources)
		}
	}
	return b.String()
}
