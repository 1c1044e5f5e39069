package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// quickly makes a function out of an expression that only compares texts and joins truths, as nearly all rules do:
// a hundred rules over thousands of packages take as long as CEL's interpreter takes for ten. It returns nil for
// any other. None of these operations can fail, so the order in which CEL may look at them does not matter.
func quickly(e ast.Expr) func(*view) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return func(*view) bool { return bool(b) }
		}
	case ast.IdentKind:
		if i, ok := variableIndex()[e.AsIdent()]; ok {
			return variables[i].flag
		}
	case ast.CallKind:
		return quickCall(e.AsCall())
	}
	return nil
}

func quickCall(c ast.CallExpr) func(*view) bool {
	args := c.Args()
	if c.IsMemberFunction() {
		args = append([]ast.Expr{c.Target()}, args...)
	}
	if c.FunctionName() == operators.LogicalNot && len(args) == 1 {
		if a := quickly(args[0]); a != nil {
			return func(v *view) bool { return !a(v) }
		}
		return nil
	}
	if len(args) != 2 {
		return nil
	}
	if c.FunctionName() == operators.In {
		return quickIn(args[0], args[1])
	}
	if a, b := quickly(args[0]), quickly(args[1]); a != nil && b != nil {
		switch c.FunctionName() {
		case operators.LogicalAnd:
			return func(v *view) bool { return a(v) && b(v) }
		case operators.LogicalOr:
			return func(v *view) bool { return a(v) || b(v) }
		case operators.Equals:
			return func(v *view) bool { return a(v) == b(v) }
		case operators.NotEquals:
			return func(v *view) bool { return a(v) != b(v) }
		}
		return nil
	}
	a, b := quickText(args[0]), quickText(args[1])
	if a == nil || b == nil {
		return nil
	}
	switch c.FunctionName() {
	case operators.Equals:
		return func(v *view) bool { return a(v) == b(v) }
	case operators.NotEquals:
		return func(v *view) bool { return a(v) != b(v) }
	case overloads.StartsWith:
		return func(v *view) bool { return strings.HasPrefix(a(v), b(v)) }
	case overloads.EndsWith:
		return func(v *view) bool { return strings.HasSuffix(a(v), b(v)) }
	case overloads.Contains:
		return func(v *view) bool { return strings.Contains(a(v), b(v)) }
	}
	return nil
}

// quickIn is a text in a list of constant ones.
func quickIn(e, list ast.Expr) func(*view) bool {
	a := quickText(e)
	if a == nil || list.Kind() != ast.ListKind {
		return nil
	}
	var texts []string
	for _, element := range list.AsList().Elements() {
		s, ok := constant(element)
		if !ok {
			return nil
		}
		texts = append(texts, s)
	}
	return func(v *view) bool { return slices.Contains(texts, a(v)) }
}

func constant(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// quickText is a constant text, or a variable's.
func quickText(e ast.Expr) func(*view) string {
	if s, ok := constant(e); ok {
		return func(*view) string { return s }
	}
	if e.Kind() != ast.IdentKind {
		return nil
	}
	i, ok := variableIndex()[e.AsIdent()]
	if !ok || variables[i].text == nil {
		return nil
	}
	return variables[i].text
}
