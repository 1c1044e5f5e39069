package doctor

import (
	"errors"
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

// TestFixForms: what is not written in a plain form is left as it is, and what is changed means what it should.
func TestFixForms(t *testing.T) {
	const name = ".github/workflows/release.yml"
	const publish = "      - run: npm publish --provenance\n"
	const setup = "      - uses: actions/setup-node@1111111111111111111111111111111111111111\n        with:\n"
	token := "    permissions:\n      id-token: write\n"
	for what, text := range map[string]string{
		"value on the next line": releaseWith("push", "permissions: {}\n", "    permissions:\n      contents:\n        read\n", publish),
		"folded permission":      releaseWith("push", "permissions: {}\n", "    permissions:\n      packages: >-\n        write\n", publish),
		"plain that goes on":     releaseWith("push", "permissions: {}\n", "    permissions:\n      contents: read\n\n        # a note\n       \n", publish) + "#\n",
		"folded cache":           releaseWith("push", "permissions: {}\n", token, setup+"          cache: >-\n            npm\n"+publish),
		"cache with an anchor":   releaseWith("push", "permissions: {}\n", token, setup+"          cache: &c npm\n"+publish),
	} {
		root, _, _ := fixed(t, map[string]string{name: text})
		got := string(root[name].Data)
		if what == "plain that goes on" {
			if !strings.Contains(got, "contents: read\n      id-token: write\n") {
				t.Errorf("%s: --fix wrote\n%s", what, got)
			}
		} else if got != text {
			t.Errorf("%s: --fix wrote\n%s", what, got)
		}
	}
	// An anchored block that another job shares is left, and that is told.
	text := releaseWith("push", "permissions: {}\n", "    permissions: &p\n      contents: read\n", publish) +
		"  other:\n    runs-on: ubuntu-latest\n    permissions: *p\n    steps:\n      - run: echo\n"
	root, done, r := fixed(t, map[string]string{name: text})
	if string(root[name].Data) != text || len(done) != 1 || done[0].Left == "" || r == nil {
		t.Errorf("a shared block: %+v\n%s", done, root[name].Data)
	}
}

// TestFixTellsTrue: a finding is mended only once its file is written, and a byte order mark stands in no edit's way.
func TestFixTellsTrue(t *testing.T) {
	root := fstest.MapFS{"package.json": {Data: []byte("\ufeff{\n  \"name\": \"widget\",\n  \"version\": \"1.0.0\"\n}\n")}}
	failed := errors.New("disk full")
	done, _, err := Fix(root, home, func(string, []byte) error { return failed })
	if !errors.Is(err, failed) || len(done) != 0 {
		t.Errorf("a write that fails: %v, %v", done, err)
	}
	done, _, err = Fix(root, home, func(name string, data []byte) error {
		root[name] = &fstest.MapFile{Data: data}
		return nil
	})
	if got := string(root["package.json"].Data); err != nil || len(done) != 1 || !strings.HasPrefix(got, "{") || !strings.Contains(got, "acme/widget") {
		t.Errorf("%v, %v:\n%s", done, err, got)
	}
}

func TestVerify(t *testing.T) {
	e := edit{file: "a.yml", from: "npm install", to: "npm ci"}
	for _, tt := range []struct {
		before, after string
		ok            bool
	}{
		{"run: npm install", "run: npm ci", true},
		{"run: |\n  npm install\n  npm install", "run: |\n  npm install\n  npm ci", true},
		{"run: npm install", "run: npm cx", false},
		{"run: npm install", "run: [", false},
		{"a: npm install\nb: 1", "a: npm ci\nb: 2", false},
	} {
		if err := e.verify([]byte(tt.before), []byte(tt.after)); (err == nil) != tt.ok {
			t.Errorf("%q to %q: %v", tt.before, tt.after, err)
		}
	}
}
