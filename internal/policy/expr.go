package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
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

	program cel.Program
	quick   func(*view) bool // the same as program, where the expression is simple enough; else nil
	uses    uses
}

// uses says which variables a rule needs that may be unknown.
type uses struct{ publisher, previous, reach, age bool }

// Bounds of an expression. Its cost is worked out when it is read, for the longest values there can be, so
// that running it needs no watch.
const (
	maxExpression = 4 << 10
	maxCost       = 1_000_000
	maxText       = 4 << 10 // of one variable, in bytes
	maxList       = 200     // of path
)

// A variable has one of three ways to its value, by its type.
type variable struct {
	name string
	kind *cel.Type
	text func(*view) string
	flag func(*view) bool
	list func(*view) []string
	span func(*view) time.Duration
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
	{name: "pkg.age", kind: cel.DurationType, span: func(v *view) time.Duration { return v.age }},
	{name: "verdict", kind: cel.StringType, text: func(v *view) string { return string(v.s.Outcome.Verdict) }},
	{name: "direct", kind: cel.BoolType, flag: func(v *view) bool { return v.s.Direct }},
	{name: "dev", kind: cel.BoolType, flag: func(v *view) bool { return v.s.Dev }},
	{name: "reach", kind: cel.StringType, text: func(v *view) string { return v.s.Reach }},
	{name: "path", kind: cel.ListType(cel.StringType), list: func(v *view) []string { return v.s.Path[:min(len(v.s.Path), maxList)] }},
	{name: "publisher.exists", kind: cel.BoolType, flag: func(v *view) bool { return v.s.Outcome.Publisher != nil }},
	{name: "publisher.issuer", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Issuer })},
	{name: "publisher.repository", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Repository })},
	{name: "publisher.repository_id", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.RepositoryID })},
	{name: "publisher.owner", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Owner })},
	{name: "publisher.owner_id", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.OwnerID })},
	{name: "publisher.workflow", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Workflow })},
	{name: "publisher.ref", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Ref })},
	{name: "publisher.commit", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Commit })},
	{name: "publisher.event", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Event })},
	{name: "publisher.signer_repository", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.SignerRepository })},
	{name: "publisher.signer_workflow", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.SignerWorkflow })},
	{name: "publisher.signer_ref", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.SignerRef })},
	{name: "publisher.runner", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Runner })},
	{name: "publisher.visibility", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Visibility })},
	{name: "publisher.environment", kind: cel.StringType, text: who(func(p *publisher.Publisher) string { return p.Environment })},
	{name: "pinned.exists", kind: cel.BoolType, flag: func(v *view) bool { return v.pin != nil }},
	{name: "pinned.floor", kind: cel.StringType, text: func(v *view) string { return string(v.floor()) }},
	{name: "pinned.repository", kind: cel.StringType, text: accepted(func(p *Pinned) string { return p.Repository })},
	{name: "pinned.repository_id", kind: cel.StringType, text: accepted(func(p *Pinned) string { return p.RepositoryID })},
	{name: "pinned.owner_id", kind: cel.StringType, text: accepted(func(p *Pinned) string { return p.OwnerID })},
	{name: "pinned.workflow", kind: cel.StringType, text: accepted(func(p *Pinned) string { return p.Workflow })},
	{name: "pinned.ref", kind: cel.StringType, text: accepted(func(p *Pinned) string { return string(p.Ref) })},
	{name: "pinned.runner", kind: cel.StringType, text: accepted(func(p *Pinned) string { return p.Runner })},
	{name: "previous.exists", kind: cel.BoolType, flag: func(v *view) bool { return v.previous != nil }},
	{name: "previous.version", kind: cel.StringType, text: before(func(p *Version) string { return p.Version })},
	{name: "previous.verdict", kind: cel.StringType, text: before(func(p *Version) string { return string(p.Verdict) })},
	{name: "previous.repository", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Repository })},
	{name: "previous.repository_id", kind: cel.StringType, text: before(func(p *Version) string { return p.who().RepositoryID })},
	{name: "previous.workflow", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Workflow })},
	{name: "previous.ref", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Ref })},
	{name: "previous.event", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Event })},
	{name: "previous.runner", kind: cel.StringType, text: before(func(p *Version) string { return p.who().Runner })},
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

// accepted reads the pin's only publisher; where several are accepted no single value is the pinned one.
func accepted(get func(*Pinned) string) func(*view) string {
	return func(v *view) string {
		if v.pin == nil || len(v.pin.Publishers) != 1 {
			return ""
		}
		return get(&v.pin.Publishers[0])
	}
}

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
	age      time.Duration
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
		return types.String(bounded(d.text(v))), true
	case d.flag != nil:
		return types.Bool(d.flag(v)), true
	case d.list != nil:
		return types.NewStringList(types.DefaultTypeAdapter, d.list(v)), true
	default:
		return types.Duration{Duration: d.span(v)}, true
	}
}

// bounded cuts a text to what the estimate of costs counts with.
func bounded(s string) string { return s[:min(len(s), maxText)] }

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

func (sizes) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	switch node.Type().Kind() {
	case types.ListKind:
		return &checker.SizeEstimate{Min: 0, Max: maxList}
	case types.StringKind:
		return &checker.SizeEstimate{Min: 0, Max: maxText}
	}
	return nil
}

func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
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
		return &expressionError{max(first.Location.Line(), 1), max(first.Location.Column(), 0), strings.TrimSpace(first.Message) + near(first.Message)}
	}
	if checked.OutputType() != cel.BoolType {
		return &expressionError{1, 0, fmt.Sprintf("the expression gives a %s; it has to be true or false", checked.OutputType())}
	}
	cost, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return &expressionError{1, 0, fmt.Sprintf("what the expression costs cannot be told: %v", err)}
	}
	if cost.Max > maxCost || cost.Max == math.MaxUint64 {
		return &expressionError{1, 0, fmt.Sprintf("the expression may cost %d steps, and at most %d are allowed", cost.Max, maxCost)}
	}
	for _, reference := range checked.NativeRep().ReferenceMap() {
		r.uses.note(reference)
	}
	r.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return &expressionError{1, 0, err.Error()}
	}
	r.quick = quickly(checked.NativeRep().Expr())
	return nil
}

func (u *uses) note(reference *ast.ReferenceInfo) {
	name := reference.Name
	u.publisher = u.publisher || strings.HasPrefix(name, "publisher.")
	u.previous = u.previous || strings.HasPrefix(name, "previous.")
	u.reach = u.reach || name == "reach"
	u.age = u.age || name == "pkg.age"
}

// near lists the variables that a message's undeclared name is the beginning of.
func near(message string) string {
	_, rest, ok := strings.Cut(message, "undeclared reference to '")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "'")
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

// ask runs the rule. unknown says why it could not be answered; "" if it was.
func (r *Rule) ask(v *view) (spoke bool, unknown string) {
	switch {
	case r.uses.publisher && v.s.Outcome.Verdict == verify.Unchecked:
		return false, "it asks for the publisher, and the package could not be checked"
	case r.uses.previous && v.s.History != nil && v.s.History.Problem != "":
		return false, "it asks for the version before, and " + v.s.History.Problem
	case r.uses.reach && v.s.Reach == "":
		return false, "it asks whether the application reaches the package, and nobody looked"
	case r.uses.age && v.age < 0:
		return false, "it asks for the version's age, which is not known"
	}
	if r.quick != nil {
		return r.quick(v), ""
	}
	out, _, err := r.program.Eval(v)
	if err != nil {
		return false, err.Error()
	}
	b, ok := out.Value().(bool)
	if !ok {
		return false, "the expression gave neither true nor false"
	}
	return b, ""
}

// usesPrevious reports whether a rule looks at the version before.
func (p *Policy) usesPrevious() bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.uses.previous || r.uses.age })
}

// rules asks every rule of the user's.
func (p *Policy) rules(v *view, add addFunc) {
	for i := range p.Rules {
		r := &p.Rules[i]
		if len(r.Packages) > 0 && !anyMatches(r.Packages, v.s.ID.Name, v.s.ID.Version) {
			continue
		}
		spoke, unknown := r.ask(v)
		switch {
		case unknown != "":
			add(r.ID, Setting{Level: Error, Place: r.Place, Mode: r.Mode}, "the rule could not be decided: %s", unknown)
		case spoke:
			add(r.ID, Setting{Level: r.Then, Place: r.Place, Mode: r.Mode}, "%s", r.Message)
		}
	}
}

// asExpressionError finds what is wrong with an expression.
func asExpressionError(err error) (*expressionError, bool) {
	return errors.AsType[*expressionError](err)
}
