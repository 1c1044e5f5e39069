package policy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// A Rule is one that the user wrote, as an expression in CEL (cel.dev) over the variables of a package.
type Rule struct {
	ID       string
	When     string // the expression; true lets the rule speak
	Then     Level
	Message  string
	Packages []Pattern // that the rule is for; nil: all
	Mode     Mode
	Place

	program func() (cel.Program, error)
	partial func() (cel.Program, error) // the same for where variables are unknown
	quick   func(*view) bool            // the same as program, where the expression is simple enough; else nil
	asks    []int                       // indices of the variables in the expression
	past    bool                        // one of them is about the package's other versions
	age     bool                        // one of them is the version's age
}

// Bounds of an expression. Its cost is worked out when it is read, for the longest values there can be, so
// that running it needs no watch.
const (
	maxExpression = 4 << 10
	maxCost       = 1_000_000
	maxText       = 4 << 10 // of one variable, in bytes
	maxList       = 200     // of path
)

// A variable has one way to its value, by its type.
type variable struct {
	name string
	kind *cel.Type
	text func(*view) string
	flag func(*view) bool
	list func(*view) []string
	span func(*view) time.Duration

	unknown func(*view) string // why the value is not known, as the end of a sentence; "" if it is; nil: it always is
}

// variables are all that a rule can look at. The names with a dot are one word to CEL, so a misspelt one is an
// error when the policy is read.
var variables = []variable{
	{name: "pkg.name", kind: cel.StringType, text: func(v *view) string { return v.s.ID.Name }},
	{name: "pkg.version", kind: cel.StringType, text: func(v *view) string { return v.s.ID.Version }},
	{name: "pkg.scope", kind: cel.StringType, text: func(v *view) string { return npm.Scope(v.s.ID.Name) }},
	{name: "pkg.line", kind: cel.StringType, text: func(v *view) string { return npm.ReleaseLine(v.s.ID.Version) }},
	{name: "pkg.prerelease", kind: cel.BoolType, flag: func(v *view) bool { return npm.IsPrerelease(v.s.ID.Version) }},
	{name: "pkg.registry", kind: cel.StringType, text: func(v *view) string { return v.s.Registry }},
	{name: "pkg.integrity", kind: cel.StringType, text: func(v *view) string { return v.s.Integrity }},
	{name: "pkg.bound", kind: cel.StringType, text: func(v *view) string { return v.s.Outcome.Bound }},
	{name: "pkg.age", kind: cel.DurationType, span: func(v *view) time.Duration { return v.age }, unknown: unknownAge},
	{name: "verdict", kind: cel.StringType, text: func(v *view) string { return string(v.s.Outcome.Verdict) }},
	{name: "direct", kind: cel.BoolType, flag: func(v *view) bool { return v.s.Direct }, unknown: unknownPlace},
	{name: "dev", kind: cel.BoolType, flag: func(v *view) bool { return v.s.Dev }, unknown: unknownPlace},
	{name: "reach", kind: cel.StringType, text: func(v *view) string { return v.s.Reach }, unknown: unknownReach},
	{name: "path", kind: cel.ListType(cel.StringType), list: func(v *view) []string { return v.s.Path }, unknown: unknownPlace},
	{name: "publisher.exists", kind: cel.BoolType, flag: func(v *view) bool { return v.s.Outcome.Publisher != nil }, unknown: unknownPublisher},
	{name: "publisher.issuer", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Issuer }), unknown: unknownPublisher},
	{name: "publisher.repository", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Repository }), unknown: unknownPublisher},
	{name: "publisher.repository_id", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.RepositoryID }), unknown: unknownPublisher},
	{name: "publisher.owner", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Owner }), unknown: unknownPublisher},
	{name: "publisher.owner_id", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.OwnerID }), unknown: unknownPublisher},
	{name: "publisher.workflow", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Workflow }), unknown: unknownPublisher},
	{name: "publisher.ref", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Ref }), unknown: unknownPublisher},
	{name: "publisher.commit", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Commit }), unknown: unknownPublisher},
	{name: "publisher.event", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Event }), unknown: unknownPublisher},
	{name: "publisher.signer_repository", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.SignerRepository }), unknown: unknownPublisher},
	{name: "publisher.signer_workflow", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.SignerWorkflow }), unknown: unknownPublisher},
	{name: "publisher.signer_ref", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.SignerRef }), unknown: unknownPublisher},
	{name: "publisher.runner", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Runner }), unknown: unknownPublisher},
	{name: "publisher.visibility", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Visibility }), unknown: unknownPublisher},
	{name: "publisher.environment", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Environment }), unknown: unknownPublisher},
	{name: "pinned.exists", kind: cel.BoolType, flag: func(v *view) bool { return v.pin != nil }},
	{name: "pinned.floor", kind: cel.StringType, text: func(v *view) string { return string(v.floor()) }},
	pinned("pinned.repository", func(p *Pinned) string { return p.Repository }),
	pinned("pinned.repository_id", func(p *Pinned) string { return p.RepositoryID }),
	pinned("pinned.owner_id", func(p *Pinned) string { return p.OwnerID }),
	pinned("pinned.workflow", func(p *Pinned) string { return p.Workflow }),
	pinned("pinned.ref", func(p *Pinned) string { return string(p.Ref) }),
	pinned("pinned.runner", func(p *Pinned) string { return p.Runner }),
	{name: "previous.exists", kind: cel.BoolType, flag: func(v *view) bool { return v.previous != nil }, unknown: unknownHistory},
	{name: "previous.version", kind: cel.StringType, text: before(func(p *Version) string { return p.Version }), unknown: unknownHistory},
	{name: "previous.verdict", kind: cel.StringType, text: before((*Version).verdict), unknown: unknownPrevious},
	{name: "previous.repository", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Repository }), unknown: unknownPrevious},
	{name: "previous.repository_id", kind: cel.StringType, text: before(func(p *Version) string { return p.who().RepositoryID }), unknown: unknownPrevious},
	{name: "previous.workflow", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Workflow }), unknown: unknownPrevious},
	{name: "previous.ref", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Ref }), unknown: unknownPrevious},
	{name: "previous.event", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Event }), unknown: unknownPrevious},
	{name: "previous.runner", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Runner }), unknown: unknownPrevious},
}

// Variables lists the variables of rules with their types, for the documentation to be held to.
func Variables() (names, kinds []string) {
	for _, v := range variables {
		names, kinds = append(names, v.name), append(kinds, v.kind.String())
	}
	return names, kinds
}

func who(get func(*publisher.Publisher) string) func(*view) string {
	return func(v *view) string {
		if v.s.Outcome.Publisher == nil {
			return ""
		}
		return get(v.s.Outcome.Publisher)
	}
}

// pinned is a variable about the accepted publisher. Where several are accepted and differ in it, no one value is
// the pinned one.
func pinned(name string, get func(*Pinned) string) variable {
	return variable{
		name: name, kind: cel.StringType,
		text: func(v *view) string {
			if v.pin == nil || len(v.pin.Publishers) == 0 {
				return ""
			}
			return get(&v.pin.Publishers[0])
		},
		unknown: func(v *view) string {
			if v.pin != nil {
				for i := range v.pin.Publishers {
					if get(&v.pin.Publishers[i]) != get(&v.pin.Publishers[0]) {
						return "several publishers are pinned, and they differ in " + name
					}
				}
			}
			return ""
		},
	}
}

func unknownAge(v *view) string {
	switch {
	case v.age >= 0:
		return ""
	case v.s.History != nil && v.s.History.Problem != "":
		return "its age is not known: " + v.s.History.Problem
	}
	return "its age is not known"
}

// unknownPlace speaks of packages that no project asked for by a lockfile, such as one that is verified by itself.
func unknownPlace(v *view) string {
	switch {
	case v.s.Path == nil && !v.s.Outcome.Locked:
		return "it is looked at by itself, so who asks for it is not known"
	case slices.Contains(v.s.Path, "…"):
		return "its path is too long to be looked at"
	}
	return ""
}

func unknownReach(v *view) string {
	if v.s.Reach == "" {
		return "nobody looked at whether the application reaches it"
	}
	return ""
}

func unknownPublisher(v *view) string {
	if v.s.Outcome.Verdict == verify.Unchecked {
		return "its publisher is not known, as it could not be checked"
	}
	return ""
}

func unknownHistory(v *view) string {
	switch {
	case v.s.History == nil:
		return "nobody looked at its other versions"
	case v.s.History.Problem != "":
		return "its other versions could not be looked at: " + v.s.History.Problem
	case v.s.own() == nil:
		return "the registry's list of versions does not hold it"
	}
	return ""
}

func unknownPrevious(v *view) string {
	if why := unknownHistory(v); why != "" {
		return why
	}
	if p := v.previous; p != nil && (p.Verdict == verify.Unchecked || p.Verdict == "" && p.Announced) {
		return "the version before, " + p.Version + ", could not be checked"
	}
	return ""
}

// verdict is the version's verdict; "none" of one for which the registry announces no attestation, whose signature
// nobody looked at.
func (v *Version) verdict() string { return string(cmp.Or(v.Verdict, "none")) }

func before(get func(*Version) string) func(*view) string {
	return func(v *view) string {
		if v.previous == nil {
			return ""
		}
		return get(v.previous)
	}
}

// who is the version's publisher, an empty one where none is verified.
func (v *Version) who() *publisher.Publisher {
	if v.Publisher == nil {
		return &publisher.Publisher{}
	}
	return v.Publisher
}

// A view is a subject as expressions see it. It is an activation of CEL's interpreter.
type view struct {
	s        *Subject
	pin      *Pin
	previous *Version
	age      time.Duration // negative: not known
	long     []int         // indices of the variables whose values are longer than the estimate of costs counts with
}

// newView looks at a subject for its rules.
func newView(s *Subject) *view {
	v := &view{s: s, previous: s.previous(), age: -1}
	v.pin, _ = s.Lock.Pin(s.ID.Name, s.ID.Version)
	if at, _ := s.published(); !at.IsZero() {
		v.age = max(0, s.Now.Sub(at))
	}
	for i := range variables {
		switch d := &variables[i]; {
		case d.text != nil && len(d.text(v)) > maxText, d.list != nil && tooLong(d.list(v)):
			v.long = append(v.long, i)
		}
	}
	return v
}

func tooLong(list []string) bool {
	return len(list) > maxList || slices.ContainsFunc(list, func(s string) bool { return len(s) > maxText })
}

// unknown says why a variable's value is not known, "" if it is.
func (v *view) unknown(i int) string {
	if len(v.long) > 0 && slices.Contains(v.long, i) {
		return variables[i].name + " is too long to be looked at"
	}
	if variables[i].unknown == nil {
		return ""
	}
	return variables[i].unknown(v)
}

func (v *view) floor() verify.Verdict {
	if v.pin == nil {
		return ""
	}
	return v.pin.Floor
}

// ResolveName finds the value of a variable.
func (v *view) ResolveName(name string) (any, bool) {
	i, ok := variableIndex()[name]
	if !ok {
		return nil, false
	}
	switch d := &variables[i]; {
	case d.text != nil:
		return types.String(d.text(v)), true
	case d.flag != nil:
		return types.Bool(d.flag(v)), true
	case d.list != nil:
		return types.NewStringList(types.DefaultTypeAdapter, d.list(v)), true
	default:
		return types.Duration{Duration: d.span(v)}, true
	}
}

// Parent returns nil: there are no other variables.
func (v *view) Parent() cel.Activation { return nil }

var variableIndex = sync.OnceValue(func() map[string]int {
	index := make(map[string]int, len(variables))
	for i, v := range variables {
		index[v.name] = i
	}
	return index
})

// environment is CEL with the variables, without macros that could nest loops deeply: the cost is bounded all
// the same.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{cel.DefaultUTCTimeZone(true)}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	return cel.NewEnv(options...)
})

// sizes bounds the values of variables for the estimate of an expression's cost.
type sizes struct{}

func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	switch node.Type().Kind() {
	case types.ListKind:
		return &cost.SizeEstimate{Min: 0, Max: maxList}
	case types.StringKind:
		return &cost.SizeEstimate{Min: 0, Max: maxText}
	}
	return nil
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// An expressionError is what is wrong with an expression, at a line and column inside it, from 1 and 0.
type expressionError struct {
	line, column int
	msg          string
}

func (e *expressionError) Error() string { return e.msg }

// compile makes the rule's expression ready to run.
func (r *Rule) compile() error {
	if len(r.When) > maxExpression {
		return &expressionError{1, 0, fmt.Sprintf("the expression is longer than %d bytes", maxExpression)}
	}
	env, err := environment()
	if err != nil {
		return fmt.Errorf("preparing expressions: %w", err)
	}
	checked, issues := env.Compile(r.When)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		column := max(first.Location.Column(), 0)
		if i := strings.LastIndexByte(undeclared(first.Message), '.'); i > 0 && i <= column {
			column -= i // CEL points at the last dot of a name
		}
		return &expressionError{max(first.Location.Line(), 1), column, strings.TrimSpace(first.Message) + near(first.Message) + inHours(first.Message)}
	}
	if checked.OutputType() != cel.BoolType {
		return &expressionError{1, 0, fmt.Sprintf("the expression gives a %s; it has to be true or false", checked.OutputType())}
	}
	if err := misspelt(checked.NativeRep()); err != nil {
		return err
	}
	steps, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return &expressionError{1, 0, fmt.Sprintf("what the expression costs cannot be told: %v", err)}
	}
	if steps.Max > maxCost || steps.Max == math.MaxUint64 {
		return &expressionError{1, 0, fmt.Sprintf("the expression may cost %d steps, and at most %d are allowed", steps.Max, maxCost)}
	}
	for _, reference := range checked.NativeRep().ReferenceMap() {
		if i, ok := variableIndex()[reference.Name]; ok && !slices.Contains(r.asks, i) {
			r.asks = append(r.asks, i)
		}
	}
	slices.Sort(r.asks)
	for _, i := range r.asks {
		r.past = r.past || strings.HasPrefix(variables[i].name, "previous.")
		r.age = r.age || variables[i].name == "pkg.age"
	}
	// Most expressions need neither program.
	prepare := func(options cel.EvalOption) func() (cel.Program, error) {
		return sync.OnceValues(func() (cel.Program, error) { return env.Program(checked, cel.EvalOptions(options)) })
	}
	r.program, r.partial = prepare(cel.OptOptimize), prepare(cel.OptOptimize|cel.OptPartialEval)
	if r.quick = quickly(checked.NativeRep().Expr()); r.quick == nil {
		if _, err := r.program(); err != nil { // such as a pattern that is none
			return &expressionError{1, 0, err.Error() + inHours(err.Error())}
		}
	}
	return nil
}

// inHours is how an age is written, where a message says that this is none.
func inHours(message string) string {
	if strings.Contains(message, "google.protobuf.Duration") || strings.Contains(message, "(duration, ") || strings.Contains(message, ", duration)") {
		return `; write it in hours, such as duration("72h")`
	}
	return ""
}

// undeclared is the name that a message says is unknown, "" if it is about something else.
func undeclared(message string) string {
	_, rest, _ := strings.Cut(message, "undeclared reference to '")
	name, _, _ := strings.Cut(rest, "'")
	return name
}

// near lists the variables that a message's undeclared name is the beginning of.
func near(message string) string {
	name := undeclared(message)
	if name == "" {
		return ""
	}
	names, _ := Variables()
	var below []string
	for _, n := range names {
		if strings.HasPrefix(n, name+".") {
			below = append(below, n)
		}
	}
	if len(below) > 0 {
		return "; there are " + strings.Join(below, ", ")
	}
	return ""
}

// ask runs the rule. unknown says why it could not be answered; "" if it was. What is not known is no answer, but
// where the answer is the same whatever it may be, as in `false && …`.
func (r *Rule) ask(v *view) (spoke bool, unknown string) {
	var patterns []*cel.AttributePatternType
	for _, i := range r.asks {
		if why := v.unknown(i); why != "" {
			patterns = append(patterns, cel.AttributePattern(variables[i].name))
			unknown = cmp.Or(unknown, why)
		}
	}
	prepared, values := r.program, any(v)
	if patterns != nil {
		known, err := cel.PartialVars(v, patterns...)
		if err != nil {
			return false, err.Error()
		}
		prepared, values = r.partial, known
	} else if r.quick != nil {
		return r.quick(v), ""
	}
	program, err := prepared()
	if err != nil {
		return false, err.Error()
	}
	out, _, err := program.Eval(values)
	if err != nil {
		return false, err.Error()
	}
	if types.IsUnknown(out) {
		return false, unknown
	}
	b, ok := out.Value().(bool)
	if !ok {
		return false, "the expression gave neither true nor false"
	}
	return b, ""
}

// asksHistory reports whether a rule about the package looks at its other versions or at its age.
func (p *Policy) asksHistory(s *Subject) bool {
	for i := range p.Rules {
		r := &p.Rules[i]
		if (r.past || r.age && s.Outcome.Published.IsZero()) && (len(r.Packages) == 0 || anyMatches(r.Packages, s.ID.Name, s.ID.Version)) {
			return true
		}
	}
	return false
}

// rules asks every rule of the user's.
func (p *Policy) rules(s *Subject, add addFunc) {
	if len(p.Rules) == 0 {
		return
	}
	v := newView(s)
	for i := range p.Rules {
		r := &p.Rules[i]
		if len(r.Packages) > 0 && !anyMatches(r.Packages, v.s.ID.Name, v.s.ID.Version) {
			continue
		}
		spoke, unknown := r.ask(v)
		switch {
		case unknown != "":
			add(r.ID, Setting{Level: Error, Place: r.Place, Mode: r.Mode}, "the rule %s could not be decided: %s", r.When, unknown)
		case spoke:
			add(r.ID, Setting{Level: r.Then, Place: r.Place, Mode: r.Mode}, "%s", r.Message)
		}
	}
}

// asExpressionError finds what is wrong with an expression.
func asExpressionError(err error) (*expressionError, bool) {
	return errors.AsType[*expressionError](err)
}
