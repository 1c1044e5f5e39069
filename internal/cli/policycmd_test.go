package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/policy"
)

// TestPolicyCheck: a policy that cannot be read is told with its place, and exit code 2.
func TestPolicyCheck(t *testing.T) {
	w := newWorld(t)
	w.now = func() time.Time { return time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC) }
	check := func(code int, want string, args ...string) {
		t.Helper()
		r := w.run(append([]string{"policy", "check"}, args...)...)
		if out := r.stdout + r.stderr; r.code != code || !strings.Contains(out, want) {
			t.Errorf("check %v: exit %d, want %d and %q:\n%s", args, r.code, code, want, out)
		}
	}
	check(2, "reading the policy:")
	w.write("assay.lock", []byte("version: 1\npackages: {}\n"))
	check(0, "assay.lock is in order: 0 packages\n")
	check(2, "reading the policy:", "assay.yaml")
	w.write("assay.yaml", []byte("version: 1\nextends: base/assay.yaml\nrules: [{id: own, when: 'direct', then: note}]\n"))
	check(2, "assay.yaml:2: extending base/assay.yaml:")
	w.write("base/assay.yaml", []byte("version: 1\ncritical:\n- packages: [react]\n  requires: provenance\n"))
	check(2, `base/assay.yaml:4:3: unknown key "requires"; did you mean require?`)
	w.write("base/assay.yaml", []byte("version: 1\ncritical:\n- packages: [react]\n  require: provenance\nwaivers:\n- {package: a, rule: own, reason: r, by: b, until: 2026-11-20}\n"))
	check(0, "base/assay.yaml:6: warning: the waiver of own for a ended on 2026-11-20\nassay.yaml is in order: 1 critical entry, 0 publishers, 1 rule, 1 waiver\n")
	check(2, `there is no such rule`, "base/assay.yaml")
	w.write("assay.lock", []byte("version: 1\npackages:\n  a:\n    \"1\":\n      flor: signed\n"))
	check(2, `assay.lock:5:7: unknown key "flor"; did you mean floor?`)
	check(2, `assay.lock:5:7:`, "assay.lock")
	w.write("assay.lock", []byte("version: 1\npackages:\n  a:\n    \"1\":\n      floor: signed\n"))
	check(0, "assay.lock is in order: 1 package\n")
	check(0, "assay.lock is in order: 1 package\n", "assay.lock")
	w.write("assay.yaml", []byte("version: 1\nrules:\n- id: a\n  then: deny\n  when: >-\n    direct &&\n    publisher.evnt == \"x\"\n"))
	check(2, "assay.yaml:7:5: in `when:`: undeclared reference to 'publisher.evnt'")
	w.write("evil\x1b[31m.yaml", []byte("version: 1\n\x1b: 1\n"))
	r := w.run("policy", "check", "evil\x1b[31m.yaml")
	if r.code != 2 || strings.Contains(r.stderr+r.stdout, "\x1b") {
		t.Errorf("exit %d: %q", r.code, r.stderr)
	}
	check(2, "accepts at most 1 arg", "a", "b")
}

// TestPolicySchema: the schema is printed as it is.
func TestPolicySchema(t *testing.T) {
	r := newWorld(t).run("policy", "schema")
	if r.code != 0 || r.stdout != string(policy.SchemaJSON()) {
		t.Errorf("exit %d: %.100s", r.code, r.stdout)
	}
}

// TestPolicyTest: cases that are not as they should be are told with their place, and exit code 1.
func TestPolicyTest(t *testing.T) {
	w := newWorld(t)
	w.write("sub/assay.yaml", []byte("version: 1\ncritical: [{packages: [react], require: provenance}]\n"))
	w.write("sub/cases.yaml", []byte("version: 1\ncases:\n- {package: react@19.0.0, verdict: signed, want: deny, rule: critical}\n"))
	if r := w.run("policy", "test", "sub/cases.yaml"); r.code != 0 || r.stdout != "ok    react@19.0.0: deny\n1 case, 0 failed\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	w.write("sub/cases.yaml", []byte("version: 1\ncases:\n- {package: react@19.0.0, verdict: signed, want: deny, rule: critical}\n- {name: \"evil \\e[31m\", package: react@19.0.0, verdict: signed, want: allow}\n"))
	if r := w.run("policy", "test", "sub/cases.yaml"); r.code != 1 || !strings.Contains(r.stdout, "FAIL  sub/cases.yaml:4: evil ") || !strings.Contains(r.stdout, "want allow, and it is deny by critical (provenance is required, and it is signed)\n2 cases, 1 failed\n") || strings.Contains(r.stdout, "\x1b") {
		t.Errorf("exit %d\n%q%s", r.code, r.stdout, r.stderr)
	}
	r := w.run("policy", "test", "sub/cases.yaml", "--json")
	var got []map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 1 || len(got) != 2 || got[0]["problem"] != "" || got[1]["line"] != 4.0 {
		t.Errorf("exit %d, %v\n%s", r.code, err, r.stdout)
	}
	w.write("other.yaml", []byte("version: 1\n"))
	if r := w.run("policy", "test", "--policy", "other.yaml", "sub/cases.yaml"); r.code != 1 {
		t.Errorf("with another policy: exit %d\n%s", r.code, r.stdout)
	}
	w.write("sub/cases.yaml", []byte("version: 1\ncases:\n- {package: react, verdict: signed, want: deny}\n"))
	if r := w.run("policy", "test", "sub/cases.yaml"); r.code != 2 || !strings.Contains(r.stderr, "sub/cases.yaml:3:3: `package:` has to be name@version") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
	if r := w.run("policy", "test"); r.code != 2 {
		t.Errorf("without files: exit %d\n%s", r.code, r.stderr)
	}
}

// TestPolicyExplain: an explanation names the rule that decided with its place, and decides as audit does.
func TestPolicyExplain(t *testing.T) {
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain"}})
	w.lock(left, plain)
	w.write("assay.yaml", []byte("version: 1\ncritical:\n- {packages: [plain], require: provenance}\nrules:\n- {id: never, when: 'publisher.event == \"pull_request\"', then: deny}\nwaivers:\n- {package: left, rule: never, reason: r, by: b, until: 2999-01-01}\n"))
	explain := func(args ...string) result {
		return w.run(append([]string{"policy", "explain", "--trusted-root", "trusted_root.json"}, args...)...)
	}
	r := explain("plain")
	for _, want := range []string{
		"plain@1.0.0: signed → deny\n", "  decided by critical, assay.yaml:3: provenance is required, and it is signed\n", "  also signed at warn, default: the registry signed it",
		"-      never              assay.yaml:5     publisher.event == \"pull_request\" is false, with publisher.event \"\"\n", "-      drift              default          there is no assay.lock\n",
	} {
		if r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("exit %d, no %q:\n%s%s", r.code, want, r.stdout, r.stderr)
		}
	}
	if r := explain("left@1.0.0"); r.code != 0 || !strings.Contains(r.stdout, "left@1.0.0: provenance → allow\n  no rule speaks against it\n") || !strings.Contains(r.stdout, "never is waived by b until 2999-01-01, and there is nothing to waive") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	audited := w.audit()
	for _, name := range []string{"left", "plain"} {
		r := explain(name, "--json")
		var got []struct {
			Decision policy.Decision
			Findings []policy.Finding
			Looks    []policy.Look
		}
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || len(got) != 1 {
			t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
		}
		if p := audited.pkg(name); p.Decision != got[0].Decision || len(p.Findings) != len(got[0].Findings) || len(got[0].Looks) < 10 {
			t.Errorf("%s: audit decides %s %+v, explain %+v", name, p.Decision, p.Findings, got[0])
		}
	}
	if r := explain("lefty"); r.code != 2 || !strings.Contains(r.stderr, "left") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
	if r := explain("left@9.9.9"); r.code != 2 {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}

// TestPinMerges: an assay.lock that git left conflicts in stops every command but pin, which puts both sides together and
// asks where they disagree.
func TestPinMerges(t *testing.T) {
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain"}})
	w.lock(left, plain)
	if r := w.pin(); r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	good := w.pins()
	block := good[strings.Index(good, "  left:"):strings.Index(good, "\n  plain:")]
	ours := "<<<<<<< HEAD\n" + block + "=======\n" + strings.Replace(block, "1.0.0", "1.0.1", 1) + ">>>>>>> theirs\n"
	w.write("assay.lock", []byte(strings.Replace(good, block, ours, 1)))
	if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, "assay.lock:5: the file has merge conflicts; `assay pin` merges both sides") {
		t.Errorf("audit: exit %d\n%s", r.code, r.stderr)
	}
	if r := w.run("policy", "check", "assay.lock"); r.code != 2 {
		t.Errorf("check: exit %d\n%s", r.code, r.stderr)
	}
	if r := w.pin(); r.code != 0 || w.pins() != good {
		t.Errorf("the same publisher on both sides: exit %d\n%s%s\n%s", r.code, r.stdout, r.stderr, w.pins())
	}
	other := strings.ReplaceAll(block, "acme/left", "evil/left")
	conflict := strings.Replace(good, block, "<<<<<<< HEAD\n"+block+"=======\n"+other+">>>>>>> theirs\n", 1)
	w.write("assay.lock", []byte(conflict))
	for _, args := range [][]string{nil, {"--update", "plain"}} {
		if r := w.pin(args...); r.code != 1 || w.pins() != conflict || !strings.Contains(r.stderr, "assay.lock keeps its merge conflicts: nobody decided about left 1") ||
			len(args) == 0 && (!strings.Contains(r.stdout, "our side has provenance (1.0.0) by .github/workflows/release.yml of github.com/acme/left on ") || !strings.Contains(r.stdout, "their side has provenance (1.0.0) by .github/workflows/release.yml of github.com/evil/left on ")) {
			t.Errorf("two publishers, pin %q: exit %d\n%s%s\n%s", args, r.code, r.stdout, r.stderr, w.pins())
		}
	}
	if r := w.pin("--yes"); r.code != 0 || w.pins() != good {
		t.Errorf("two publishers, accepted: exit %d\n%s%s\n%s", r.code, r.stdout, r.stderr, w.pins())
	}
}
