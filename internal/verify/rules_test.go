package verify

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"assay/internal/sigstore"
)

// TestEveryReasonHasASentence: a reason without a sentence leaves a person with a code.
func TestEveryReasonHasASentence(t *testing.T) {
	for _, r := range sigstore.Reasons() {
		if strings.HasPrefix(r.Code, "trusted-root-") {
			continue // an error of reading the trusted root, before any check
		}
		if bundleSentences[r.Code] == "" {
			t.Errorf("no sentence for %q of package sigstore", r.Code)
		}
	}
	known := map[string]bool{}
	for _, r := range sigstore.Reasons() {
		known[r.Code] = true
	}
	for code := range bundleSentences {
		if !known[code] {
			t.Errorf("a sentence for %q, which package sigstore does not have", code)
		}
	}
	used := map[string]bool{}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]string{}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if strings.HasPrefix(name.Name, "reason") && i < len(n.Values) {
						if lit, ok := n.Values[i].(*ast.BasicLit); ok {
							constants[name.Name] = strings.Trim(lit.Value, `"`)
						}
					}
				}
				return false
			case *ast.Ident:
				if strings.HasPrefix(n.Name, "reason") && len(n.Name) > len("reason") {
					used[n.Name] = true
				}
			}
			return true
		})
	}
	for name, code := range constants {
		if sentences[code] == "" {
			t.Errorf("no sentence for %s (%q)", name, code)
		}
		if !used[name] {
			t.Errorf("%s is never used", name)
		}
	}
}

// TestVerifyIsPure: a verdict years later is worth something only if nothing but the evidence went into it.
func TestVerifyIsPure(t *testing.T) {
	for _, dir := range []string{".", "../sigstore", "../publisher"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			tree, err := parser.ParseFile(fset, dir+"/"+file.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range tree.Imports {
				path := strings.Trim(imp.Path.Value, `"`)
				if slices.Contains([]string{"net", "net/http", "os", "os/exec", "io/ioutil", "math/rand", "math/rand/v2", "crypto/rand", "log"}, path) {
					t.Errorf("%s imports %s", file.Name(), path)
				}
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Tick", "Sleep"}, sel.Sel.Name) {
						t.Errorf("%s: time.%s", fset.Position(n.Pos()), sel.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// TestNothingIsPassByDefault: an outcome that nobody set must not read as good news.
func TestNothingIsPassByDefault(t *testing.T) {
	if badness(outcome{}) <= badness(fail("x", "", "")) {
		t.Error("the zero outcome does not outweigh a fail")
	}
	rows := make([]Result, len(checks))
	for i, c := range checks {
		rows[i] = Result{ID: c.id}
	}
	if got := judge(gather(Input{}), rows); got != Unchecked {
		t.Errorf("rows that were never filled in give %q", got)
	}
}
