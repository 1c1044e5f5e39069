package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// CasesFile is the name of the file with a user's cases.
const CasesFile = "assay.test.yaml"

// A Case is a package as it may come, and what a policy has to say of it. What a case leaves out is as plain as can be: a
// direct dependency of a registry that signs, locked with a hash, published a year ago, and no assay.lock.
type Case struct {
	Name   string // "" for none
	Want   Decision
	Rules  []string // that have to be among those that speak at the level of the decision
	Source string   // of a dependency that comes from no registry; "" for a package

	subject Subject
	age     time.Duration // of the version; negative: unknown
	before  *beforeCase
	Place
}

// Title names the case: its name, else its package.
func (c *Case) Title() string {
	return cmp.Or(c.Name, strings.TrimSuffix(c.subject.ID.Name+"@"+c.subject.ID.Version, "@"))
}

// beforeCase is the version before, in a case.
type beforeCase struct {
	version Version
	age     time.Duration
}

// Cases are a file of cases.
type Cases struct {
	Now   time.Time // when decisions are made; zero: now
	Cases []Case
}

// A CaseResult is what became of a case.
type CaseResult struct {
	Case     *Case
	Got      Decision
	Findings []Finding
	Problem  string // what is not as it should be, "" if all is
}

// ParseCases reads a file of cases. It is as strict as [Parse]; errors are *SyntaxError.
func ParseCases(data []byte, file string) (*Cases, error) {
	root, err := document(data, file)
	if err != nil {
		return nil, err
	}
	c := &Cases{}
	r := &reader{file: file}
	version := 0
	err = r.fields(root, map[string]fieldReader{
		"version": func(n *yaml.Node) error { return r.version(n, &version) },
		"now": func(n *yaml.Node) error {
			at, err := time.Parse(time.RFC3339, n.Value)
			if n.Kind != yaml.ScalarNode || err != nil {
				return r.errorf(n, "%q is not a time, such as 2027-03-01T12:00:00Z", n.Value)
			}
			c.Now = at
			return nil
		},
		"cases": func(n *yaml.Node) error {
			return r.each(n, "cases", func(n *yaml.Node) error {
				one, err := r.readCase(n)
				c.Cases = append(c.Cases, one)
				return err
			})
		},
	})
	switch {
	case err != nil:
		return nil, err
	case version == 0:
		return nil, r.errorf(root, "`version: 1` is missing")
	case len(c.Cases) == 0:
		return nil, r.errorf(root, "`cases:` is missing, or empty")
	}
	return c, nil
}

func (r *reader) readCase(n *yaml.Node) (Case, error) {
	c := Case{Place: r.at(n), age: 365 * 24 * time.Hour}
	s := &c.subject
	s.Outcome = &verify.Outcome{RegistrySigns: true, Locked: true, Bound: "lockfile"}
	s.Registry, s.Direct = "https://registry.npmjs.org", true
	var p *publisher.Publisher
	err := r.fields(n, map[string]fieldReader{
		"name":    r.text(&c.Name),
		"package": func(n *yaml.Node) error { return r.packageID(n, &s.ID) },
		"source":  r.word(&c.Source, "kind of source", "git", "url", "file", "workspace", "link", "bundled", "foreign", "unknown"),
		"verdict": r.word((*string)(&s.Outcome.Verdict), "verdict", string(verify.Provenance), string(verify.Signed), string(verify.Unsigned), string(verify.Invalid), string(verify.Unchecked)),
		"publisher": func(n *yaml.Node) (err error) {
			p, err = r.casePublisher(n)
			return err
		},
		"pin":               func(n *yaml.Node) error { return r.casePin(n, s) },
		"previous":          func(n *yaml.Node) error { return r.casePrevious(n, &c) },
		"age":               r.age(&c.age),
		"direct":            r.truth(&s.Direct),
		"dev":               r.truth(&s.Dev),
		"path":              r.texts(&s.Path),
		"reach":             r.word(&s.Reach, "word for what is reached", "called", "imported", "unreached"),
		"registry":          r.text(&s.Registry),
		"registry-signs":    r.truth(&s.Outcome.RegistrySigns),
		"repository-absent": r.truth(&s.Outcome.RepositoryAbsent),
		"bound":             r.word(&s.Outcome.Bound, "thing that ties a verdict to bytes", "lockfile", "tarball", "disk", "none"),
		"integrity":         r.text(&s.Integrity),
		"expired-key":       r.truth(&s.Outcome.TimeUnknown),
		"want":              r.word((*string)(&c.Want), "decision", string(Allow), string(Warn), string(Deny), string(Error)),
		"rule":              r.texts(&c.Rules),
	})
	switch {
	case err != nil:
		return c, err
	case s.ID.Name == "":
		return c, r.errorf(n, "`package:` is missing")
	case c.Want == "":
		return c, r.errorf(n, "`want:` is missing; write allow, warn, deny or error")
	case c.Source == "" && s.Outcome.Verdict == "" && p == nil:
		return c, r.errorf(n, "`verdict:` is missing")
	case p != nil && s.Outcome.Verdict != "" && s.Outcome.Verdict != verify.Provenance:
		return c, r.errorf(n, "only provenance has a publisher, and the verdict is %s", s.Outcome.Verdict)
	case p == nil && s.Outcome.Verdict == verify.Provenance:
		return c, r.errorf(n, "`publisher:` is missing: provenance is somebody's")
	case s.ID.Version == "" && c.Source == "":
		return c, r.errorf(n, "`package:` has to be name@version")
	}
	c.complete(p)
	return c, nil
}

// complete fills in what goes with what a case says.
func (c *Case) complete(p *publisher.Publisher) {
	s := &c.subject
	switch o := s.Outcome; {
	case p != nil:
		o.Verdict, o.Publisher = verify.Provenance, p
	case o.Verdict == verify.Invalid:
		o.Checks = []verify.Result{{ID: "subject", Status: verify.Fail, Message: "as the case has it"}}
	case o.Verdict == verify.Unchecked:
		o.Checks = []verify.Result{{ID: "evidence-complete", Status: verify.Error, Message: "as the case has it"}}
	}
	if s.Path == nil {
		s.Path = []string{"app", s.ID.Name}
		if !s.Direct {
			s.Path = []string{"app", "between", s.ID.Name}
		}
	}
}

func (r *reader) packageID(n *yaml.Node, id *npm.ID) error {
	var s string
	if err := r.text(&s)(n); err != nil {
		return err
	}
	id.Name = s
	if i := strings.LastIndexByte(s, '@'); i > 0 {
		id.Name, id.Version = s[:i], s[i+1:]
		if err := npm.CheckVersion(id.Version); err != nil {
			return r.errorf(n, "%v", err)
		}
	}
	if err := npm.CheckName(id.Name); err != nil {
		return r.errorf(n, "%v", err)
	}
	return nil
}

// casePublisher reads a publisher as it may stand in a certificate, short where the rest follows.
func (r *reader) casePublisher(n *yaml.Node) (*publisher.Publisher, error) {
	p := &publisher.Publisher{Ref: "refs/heads/main", Event: "push", Runner: "github-hosted", Workflow: ".github/workflows/release.yml", Commit: strings.Repeat("0", 40), Visibility: "public"}
	err := r.fields(n, map[string]fieldReader{
		"issuer": r.issuer(&p.Issuer), "repository": r.text(&p.Repository), "repository_id": r.number(&p.RepositoryID), "owner": r.text(&p.Owner), "owner_id": r.number(&p.OwnerID),
		"workflow": r.text(&p.Workflow), "ref": r.text(&p.Ref), "commit": r.text(&p.Commit), "event": r.text(&p.Event), "runner": r.text(&p.Runner), "environment": r.text(&p.Environment),
		"visibility": r.text(&p.Visibility), "signer_repository": r.text(&p.SignerRepository), "signer_workflow": r.text(&p.SignerWorkflow), "signer_ref": r.text(&p.SignerRef),
	})
	if err != nil {
		return nil, err
	}
	if p.Repository == "" {
		return nil, r.errorf(n, "`repository:` is missing")
	}
	p.Issuer = defaultIssuer(p.Issuer, p.Repository, p.Owner)
	if p.Issuer == "" {
		return nil, r.errorf(n, "`issuer:` is missing")
	}
	f := Filter{Issuer: p.Issuer}
	p.Repository = f.forge(p.Repository)
	if p.Owner == "" {
		p.Owner = p.Repository[:strings.LastIndexByte(p.Repository, '/')]
	}
	p.Owner = f.forge(p.Owner)
	if p.SignerRepository != "" {
		p.SignerRepository = f.forge(p.SignerRepository)
	}
	p.SignerRepository, p.SignerWorkflow, p.SignerRef = cmp.Or(p.SignerRepository, p.Repository), cmp.Or(p.SignerWorkflow, p.Workflow), cmp.Or(p.SignerRef, p.Ref)
	return p, nil
}

// casePin reads what of assay.lock is about the package: "none", or a release line as it stands there.
func (r *reader) casePin(n *yaml.Node, s *Subject) error {
	s.Lock = &Lock{File: LockFile, Pins: make(map[string][]Pin)}
	if n.Kind == yaml.ScalarNode {
		var none string
		return r.word(&none, "word for a pin", "none")(n)
	}
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "expected none, or release lines as in %s", LockFile)
	}
	if s.ID.Name == "" {
		return r.errorf(n, "`package:` has to stand above `pin:`")
	}
	// It is read as assay.lock is, so it is as strict.
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.ID.Name, Line: n.Line, Column: n.Column}
	return r.pins(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{name, n}, Line: n.Line, Column: n.Column}, s.Lock)
}

func (r *reader) casePrevious(n *yaml.Node, c *Case) error {
	b := &beforeCase{age: 400 * 24 * time.Hour}
	err := r.fields(n, map[string]fieldReader{
		"version": func(n *yaml.Node) error {
			if err := r.text(&b.version.Version)(n); err != nil {
				return err
			}
			if err := npm.CheckVersion(b.version.Version); err != nil {
				return r.errorf(n, "%v", err)
			}
			return nil
		},
		"verdict": r.word((*string)(&b.version.Verdict), "verdict", string(verify.Provenance), string(verify.Signed), string(verify.Unsigned), string(verify.Unchecked)),
		"age":     r.age(&b.age),
		"publisher": func(n *yaml.Node) (err error) {
			b.version.Publisher, err = r.casePublisher(n)
			return err
		},
	})
	switch v := &b.version; {
	case err != nil:
		return err
	case v.Version == "":
		return r.errorf(n, "`version:` of the version before is missing")
	case v.Publisher != nil && v.Verdict == "":
		v.Verdict = verify.Provenance
	case v.Verdict == verify.Provenance && v.Publisher == nil, v.Verdict != verify.Provenance && v.Publisher != nil:
		return r.errorf(n, "provenance has a publisher, and nothing else has one")
	case v.Verdict == "":
		return r.errorf(n, "`verdict:` of the version before is missing")
	}
	c.before = b
	return nil
}

// age reads a duration, or unknown.
func (r *reader) age(d *time.Duration) fieldReader {
	return func(n *yaml.Node) error {
		if n.Kind == yaml.ScalarNode && n.Value == "unknown" {
			*d = -1
			return nil
		}
		return r.duration(d)(n)
	}
}

// truth reads true or false.
func (r *reader) truth(b *bool) fieldReader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Value != "true" && n.Value != "false" || n.Style != 0 {
			return r.errorf(n, "expected true or false here")
		}
		*b = n.Value == "true"
		return nil
	}
}

// Run decides every case by a policy, in their order; now is the time where the file has none.
func (c *Cases) Run(p *Policy, now time.Time) []CaseResult {
	if !c.Now.IsZero() {
		now = c.Now
	}
	results := make([]CaseResult, len(c.Cases))
	for i := range c.Cases {
		results[i] = c.Cases[i].run(p, now)
	}
	return results
}

func (c *Case) run(p *Policy, now time.Time) CaseResult {
	r := CaseResult{Case: c}
	s, outcome := c.subject, *c.subject.Outcome
	s.Now, s.Outcome = now, &outcome
	if c.Source != "" {
		r.Got, r.Findings = p.DecideSource(Dependency{ID: s.ID, Source: c.Source, Now: now})
	} else {
		own := Version{Version: s.ID.Version, Verdict: outcome.Verdict, Publisher: outcome.Publisher}
		if c.age >= 0 {
			own.Time = now.Add(-c.age)
		}
		s.History = &History{Versions: []Version{own}}
		if b := c.before; b != nil {
			before := b.version
			if b.age >= 0 {
				before.Time = now.Add(-b.age)
			}
			s.History.Versions = []Version{before, own}
		}
		r.Got, r.Findings = p.Decide(&s, Filter{})
	}
	var spoke []string
	for _, f := range r.Findings {
		if Decision(f.Level) == r.Got || r.Got == Decision(Allow) {
			spoke = append(spoke, f.Rule)
		}
	}
	switch {
	case r.Got != c.Want:
		r.Problem = fmt.Sprintf("want %s, and it is %s%s", c.Want, r.Got, behind(r.Findings, r.Got))
	default:
		for _, rule := range c.Rules {
			if !slices.Contains(spoke, rule) {
				r.Problem = fmt.Sprintf("want %s by %s, and it is %s%s", c.Want, rule, r.Got, behind(r.Findings, r.Got))
				break
			}
		}
	}
	return r
}

// behind names the findings that made a decision.
func behind(findings []Finding, d Decision) string {
	var list []string
	for _, f := range findings {
		if Decision(f.Level) == d {
			list = append(list, fmt.Sprintf("%s (%s)", f.Rule, f.Message))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " by " + strings.Join(list, ", ")
}
