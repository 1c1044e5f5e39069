package npm_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npmJS runs a JavaScript function of one argument over every input, with require resolving inside the
// installed npm, and returns what it gave as JSON: the modules that define the formats are the oracle of
// the differential tests. It skips the test where node or npm is missing.
func npmJS[T any](t *testing.T, function string, inputs []string) []T {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("differential test not run: node is not installed")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("differential test not run: npm is not installed")
	}
	if npm, err = filepath.EvalSymlinks(npm); err != nil {
		t.Skip("differential test not run:", err)
	}
	root := filepath.Dir(filepath.Dir(npm)) // …/npm/bin/npm-cli.js
	if _, err := os.Stat(filepath.Join(root, "node_modules", "ssri")); err != nil {
		t.Skip("differential test not run: npm does not carry its modules in the usual place")
	}
	script := `
const require_ = require("node:module").createRequire(process.argv[1] + "/package.json");
const f = (require => ` + function + `)(require_);
let s = "";
process.stdin.on("data", d => s += d).on("end", () =>
  process.stdout.write(JSON.stringify(JSON.parse(s).map(x => { try { return f(x) } catch { return null } }))));`
	stdin, err := json.Marshal(inputs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "-e", script, root)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running node: %v\n%s", err, stderr.String())
	}
	var results []T
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("reading node's answer: %v", err)
	}
	if len(results) != len(inputs) {
		t.Fatalf("node answered %d of %d inputs", len(results), len(inputs))
	}
	return results
}
