package doctor

import (
	"strings"
	"testing"
	"testing/fstest"
)

// releaseWith is a workflow of one publishing job, whose parts a test chooses.
func releaseWith(on, top, permissions, steps string) string {
	return "name: Release\non: " + on + "\n" + top + "jobs:\n  publish:\n    runs-on: ubuntu-latest\n    environment: npm\n" + permissions + "    steps:\n" + steps
}

// fixed runs Fix on a workflow and returns what it left there.
func fixed(t *testing.T, files map[string]string) (root fstest.MapFS, done []Fixed, r *Report) {
	t.Helper()
	root = fstest.MapFS{"package.json": {Data: []byte(`{"name": "widget", "version": "1.0.0", "repository": "acme/widget"}`)}}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	done, r, err := Fix(root, home, func(name string, data []byte) error {
		root[name] = &fstest.MapFile{Data: data}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, done, r
}

// TestFixLeavesExposed: a job that outsiders control, or that is denied an identity, is given none.
func TestFixLeavesExposed(t *testing.T) {
	const name = ".github/workflows/release.yml"
	const read = "    permissions:\n      contents: read\n"
	const write = "    permissions:\n      id-token: write\n"
	const publish = "      - run: npm publish\n"
	const head = "      - uses: actions/checkout@1111111111111111111111111111111111111111\n        with:\n          ref: ${{ github.event.pull_request.head.sha }}\n"
	for what, text := range map[string]string{
		"pull_request_target":         releaseWith("pull_request_target", "permissions: {}\n", read, head+publish),
		"provenance":                  releaseWith("pull_request_target", "permissions: {}\n", write, "      - run: npm publish\n        env:\n          NODE_AUTH_TOKEN: ${{ secrets.NPM_TOKEN }}\n"),
		"checkout of the head":        releaseWith("push", "permissions: {}\n", read, head+publish),
		"workflow denies":             releaseWith("push", "permissions:\n  id-token: none\n", read, publish),
		"workflow denies, job silent": releaseWith("push", "permissions:\n  contents: read\n  id-token: none\n", "", publish),
		"job denies":                  releaseWith("push", "permissions: {}\n", "    permissions:\n      id-token: none\n", publish),
	} {
		if root, _, _ := fixed(t, map[string]string{name: text}); string(root[name].Data) != text {
			t.Errorf("%s: --fix wrote\n%s", what, root[name].Data)
		}
	}
	root, done, _ := fixed(t, map[string]string{name: releaseWith("push", "permissions: {}\n", read, publish)})
	if len(done) == 0 || !strings.Contains(string(root[name].Data), "id-token: write") {
		t.Errorf("--fix left an ordinary job without the permission:\n%s", root[name].Data)
	}
	called := releaseWith("workflow_call", "", "", publish)
	for on, want := range map[string]bool{"push": true, "issue_comment": false} {
		caller := "on: " + on + "\npermissions: {}\njobs:\n  call:\n    permissions:\n      contents: read\n    uses: ./.github/workflows/called.yml\n"
		root, _, _ := fixed(t, map[string]string{".github/workflows/called.yml": called, name: caller})
		if got := strings.Contains(string(root[name].Data), "id-token"); got != want {
			t.Errorf("a caller on %s: granted %v, want %v", on, got, want)
		}
	}
}

// TestFixInstall: npm ci is written only where it finds the lockfile.
func TestFixInstall(t *testing.T) {
	const name = ".github/workflows/release.yml"
	for step, want := range map[string]bool{
		"      - run: npm install\n":                                    true,
		"      - run: npm install\n        working-directory: site\n":   false,
		"      - run: cd site && npm install\n":                         false,
		"      - run: npm install --prefix site\n":                      false,
		"      - run: npm -C site install\n":                            false,
		"      - run: npm install --no-package-lock\n":                  false,
		"      - run: npm install --package-lock=false\n":               false,
		"      - run: |\n          pushd site\n          npm install\n": false,
	} {
		text := releaseWith("push", "permissions: {}\n", "    permissions:\n      id-token: write\n", step+"      - run: npm publish --provenance\n")
		root, _, _ := fixed(t, map[string]string{name: text, "package-lock.json": "{}"})
		if got := strings.Contains(string(root[name].Data), "npm ci"); got != want {
			t.Errorf("%q: npm ci written %v, want %v", step, got, want)
		}
	}
}
