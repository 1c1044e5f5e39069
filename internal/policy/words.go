package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"assay/internal/verify"
)

// words are the values that variables of few can have. An empty one is that of a package without a publisher or a pin.
var words = func() map[string][]string {
	verdicts := []string{string(verify.Provenance), string(verify.Signed), string(verify.Unsigned), string(verify.Invalid), string(verify.Unchecked)}
	runners := []string{"github-hosted", "gitlab-hosted", "self-hosted", ""}
	return map[string][]string{
		"verdict":          verdicts,
		"reach":            {"called", "imported", "unreached"},
		"pkg.bound":        {"lockfile", "tarball", "disk", "none"},
		"publisher.runner": runners,
		"pinned.runner":    runners,
		"previous.runner":  runners,
		"pinned.floor":     append(slices.Clone(verdicts[:3]), ""),
		"previous.verdict": append(slices.Clone(verdicts), "none", ""),
	}
}()

// misspelt finds a comparison with a word that a variable never is: a rule with it would never speak, or always.
func misspelt(tree *ast.AST) error {
	var wrong error
	compare := func(variable, value ast.Expr) {
		text, ok := constant(value)
		if variable.Kind() != ast.IdentKind || !ok || wrong != nil {
			return
		}
		name := variable.AsIdent()
		known := words[name]
		if known == nil || slices.Contains(known, text) {
			return
		}
		hint := ""
		if s := suggest(text, known); s != "" {
			hint = fmt.Sprintf("; did you mean %s?", s)
		}
		listed := slices.DeleteFunc(slices.Clone(known), func(s string) bool { return s == "" })
		at := tree.SourceInfo().GetStartLocation(value.ID())
		wrong = &expressionError{max(at.Line(), 1), max(at.Column(), 0), fmt.Sprintf("%s is never %q; it is one of %s%s", name, text, strings.Join(listed, ", "), hint)}
	}
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
			return
		}
		a, b := e.AsCall().Args()[0], e.AsCall().Args()[1]
		switch e.AsCall().FunctionName() {
		case operators.Equals, operators.NotEquals:
			compare(a, b)
			compare(b, a)
		case operators.In:
			if b.Kind() == ast.ListKind {
				for _, element := range b.AsList().Elements() {
					compare(a, element)
				}
			}
		}
	}))
	return wrong
}
