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
	"cel.dev/cel-go/common/types/ref"

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

// variables are all that a rule can look at. The names with a dot are one word to CEL, so a misspelt one is an
// error when the policy is read.
var variables = []struct {
	name string
	kind *cel.Type
	get  func(v *view) ref.Val
}{
	{"pkg.name", cel.StringType, func(v *view) ref.Val { return text(v.s.ID.Name) }},
	{"pkg.version", cel.StringType, func(v *view) ref.Val { return text(v.s.ID.Version) }},
	{"pkg.scope", cel.StringType, func(v *view) ref.Val { return text(npm.Scope(v.s.ID.Name)) }},
	{"pkg.line", cel.StringType, func(v *view) ref.Val { return text(npm.ReleaseLine(v.s.ID.Version)) }},
	{"pkg.prerelease", cel.BoolType, func(v *view) ref.Val { return types.Bool(npm.IsPrerelease(v.s.ID.Version)) }},
	{"pkg.registry", cel.StringType, func(v *view) ref.Val { return text(v.s.Registry) }},
	{"pkg.integrity", cel.StringType, func(v *view) ref.Val { return text(v.s.Integrity) }},
	{"pkg.bound", cel.StringType, func(v *view) ref.Val { return text(v.s.Outcome.Bound) }},
	{"pkg.age", cel.DurationType, func(v *view) ref.Val { return types.Duration{Duration: v.age} }},
	{"verdict", cel.StringType, func(v *view) ref.Val { return text(string(v.s.Outcome.Verdict)) }},
	{"direct", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.s.Direct) }},
	{"dev", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.s.Dev) }},
	{"reach", cel.StringType, func(v *view) ref.Val { return text(v.s.Reach) }},
	{"path", cel.ListType(cel.StringType), func(v *view) ref.Val {
		return types.NewStringList(types.DefaultTypeAdapter, v.s.Path[:min(len(v.s.Path), maxList)])
	}},
	{"publisher.exists", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.s.Outcome.Publisher != nil) }},
	{"publisher.issuer", cel.StringType, who(func(p *publisher.Publisher) string { return p.Issuer })},
	{"publisher.repository", cel.StringType, who(func(p *publisher.Publisher) string { return p.Repository })},
	{"publisher.repository_id", cel.StringType, who(func(p *publisher.Publisher) string { return p.RepositoryID })},
	{"publisher.owner", cel.StringType, who(func(p *publisher.Publisher) string { return p.Owner })},
	{"publisher.owner_id", cel.StringType, who(func(p *publisher.Publisher) string { return p.OwnerID })},
	{"publisher.workflow", cel.StringType, who(func(p *publisher.Publisher) string { return p.Workflow })},
	{"publisher.ref", cel.StringType, who(func(p *publisher.Publisher) string { return p.Ref })},
	{"publisher.commit", cel.StringType, who(func(p *publisher.Publisher) string { return p.Commit })},
	{"publisher.event", cel.StringType, who(func(p *publisher.Publisher) string { return p.Event })},
	{"publisher.signer_repository", cel.StringType, who(func(p *publisher.Publisher) string { return p.SignerRepository })},
	{"publisher.signer_workflow", cel.StringType, who(func(p *publisher.Publisher) string { return p.SignerWorkflow })},
	{"publisher.signer_ref", cel.StringType, who(func(p *publisher.Publisher) string { return p.SignerRef })},
	{"publisher.runner", cel.StringType, who(func(p *publisher.Publisher) string { return p.Runner })},
	{"publisher.visibility", cel.StringType, who(func(p *publisher.Publisher) string { return p.Visibility })},
	{"publisher.environment", cel.StringType, who(func(p *publisher.Publisher) string { return p.Environment })},
	{"pinned.exists", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.pin != nil) }},
	{"pinned.floor", cel.StringType, func(v *view) ref.Val { return text(string(v.floor())) }},
	{"pinned.repository", cel.StringType, accepted(func(p *Pinned) string { return p.Repository })},
	{"pinned.repository_id", cel.StringType, accepted(func(p *Pinned) string { return p.RepositoryID })},
	{"pinned.owner_id", cel.StringType, accepted(func(p *Pinned) string { return p.OwnerID })},
	{"pinned.workflow", cel.StringType, accepted(func(p *Pinned) string { return p.Workflow })},
	{"pinned.ref", cel.StringType, accepted(func(p *Pinned) string { return string(p.Ref) })},
	{"pinned.runner", cel.StringType, accepted(func(p *Pinned) string { return p.Runner })},
	{"previous.exists", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.previous != nil) }},
	{"previous.version", cel.StringType, before(func(p *Version) string { return p.Version })},
	{"previous.verdict", cel.StringType, before(func(p *Version) string { return string(p.Verdict) })},
	{"previous.repository", cel.StringType, before(func(p *Version) string { return p.who().Repository })},
	{"previous.repository_id", cel.StringType, before(func(p *Version) string { return p.who().RepositoryID })},
	{"previous.workflow", cel.StringType, before(func(p *Version) string { return p.who().Workflow })},
	{"previous.ref", cel.StringType, before(func(p *Version) string { return p.who().Ref })},
	{"previous.event", cel.StringType, before(func(p *Version) string { return p.who().Event })},
	{"previous.runner", cel.StringType, before(func(p *Version) string { return p.who().Runner })},
}

// Variables lists the variables of rules with their types, for the documentation to be held to.
func Variables() (names, kinds []string) {
	for _, v := range variables {
		names, kinds = append(names, v.name), append(kinds, v.kind.String())
	}
	return names, kinds
}

func text(s string) ref.Val {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return types.String(s)
}

func who(get func(*publisher.Publisher) string) func(*view) ref.Val {
	return func(v *view) ref.Val {
		if v.s.Outcome.Publisher == nil {
			return types.String("")
		}
		return text(get(v.s.Outcome.Publisher))
	}
}

// accepted reads the pin's only publisher; where several are accepted no single value is the pinned one.
func accepted(get func(*Pinned) string) func(*view) ref.Val {
	return func(v *view) ref.Val {
		if v.pin == nil || len(v.pin.Publishers) != 1 {
			return types.String("")
		}
		return text(get(&v.pin.Publishers[0]))
	}
}

func before(get func(*Version) string) func(*view) ref.Val {
	return func(v *view) ref.Val {
		if v.previous == nil {
			return types.String("")
		}
		return text(get(v.previous))
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
	return variables[i].get(v), true
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
