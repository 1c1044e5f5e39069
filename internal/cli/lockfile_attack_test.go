package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
)

// TestLockfileAttacks audits projects that somebody changed in files which reviewers do not read. Both
// packages have good provenance, so that only the change can be what is wrong.
func TestLockfileAttacks(t *testing.T) {
	link := func(target string) map[string]any { return map[string]any{"resolved": target, "link": true} }
	for _, tt := range []struct {
		name   string
		args   []string
		change func(w *world, packages map[string]any)
		code   int
		row    string // name, decision and part of a finding's message of one of the others, or a part of a note or error
	}{
		{name: "nothing"},
		{name: "a link to another package", change: func(_ *world, p map[string]any) { p["node_modules/ms"] = link("node_modules/tiny") },
			code: 1, row: `ms deny "ms" is asked for by version`},
		{name: "a link to the project", change: func(_ *world, p map[string]any) { p["node_modules/ms"] = link("") },
			code: 1, row: `ms deny "ms" is asked for by version`},
		{name: "a link to a workspace", code: 1, row: `evil deny "ms" is asked for by version`, change: func(w *world, p map[string]any) {
			w.write("package.json", []byte(`{"name": "app", "workspaces": ["packages/*"], "dependencies": {"ms": "^1.0.0", "tiny": "^1.0.0"}}`))
			p["packages/evil"] = map[string]any{"name": "evil", "version": "1.0.0"}
			p["node_modules/evil"], p["node_modules/ms"] = link("packages/evil"), link("packages/evil")
		}},
		{name: "no entry for the project", change: func(_ *world, p map[string]any) { delete(p, "") }, code: 1, row: "package-lock.json deny packages has no entry"},
		{name: "an entry deleted", change: func(_ *world, p map[string]any) { delete(p, "node_modules/ms") },
			code: 3, row: "ms error is asked for and not in the lockfile, so nothing is known of it"},
		{name: "a decoy beside yarn.lock", change: func(w *world, _ map[string]any) { w.write("yarn.lock", nil) }, row: "yarn.lock warn yarn.lock is not read"},
		{name: "a decoy beside yarn.lock, strictly", args: []string{"--fail-on", "warn"}, change: func(w *world, _ map[string]any) { w.write("yarn.lock", nil) },
			code: 1, row: "yarn.lock warn yarn.lock is not read"},
		{name: "a decoy beside the yarn.lock that package.json demands", code: 3, row: "ms error is asked for and not in the lockfile", change: func(w *world, _ map[string]any) {
			w.write("package.json", []byte(`{"packageManager": "yarn@4.5.0", "dependencies": {"ms": "^1.0.0"}}`))
			w.write("yarn.lock", nil)
		}},
		{name: "development packages hidden by .npmrc", code: 3, row: "may not leave out dependencies (omit)", change: func(w *world, p map[string]any) {
			w.write("package.json", []byte(`{"name": "app", "dependencies": {"tiny": "^1.0.0"}, "devDependencies": {"ms": "^1.0.0"}}`))
			w.write(".npmrc", []byte("registry="+w.server.URL+"/\nomit[]=dev\n"))
			delete(p, "node_modules/ms")
		}},
		{name: "development packages left out by the user", change: func(w *world, p map[string]any) {
			w.write("package.json", []byte(`{"name": "app", "dependencies": {"tiny": "^1.0.0"}, "devDependencies": {"ms": "^1.0.0"}}`))
			w.env["npm_config_omit"] = "dev"
			delete(p, "node_modules/ms")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.lock(w.publish(lab.Release{Package: lab.Package{Name: "ms"}, CI: lab.GitHub("acme/ms")}),
				w.publish(lab.Release{Package: lab.Package{Name: "tiny"}, CI: lab.GitHub("acme/tiny")}))
			if tt.change != nil {
				data, err := os.ReadFile(filepath.Join(w.project, "package-lock.json"))
				if err != nil {
					t.Fatal(err)
				}
				var lock map[string]any
				if err := json.Unmarshal(data, &lock); err != nil {
					t.Fatal(err)
				}
				tt.change(w, lock["packages"].(map[string]any))
				if data, err = json.Marshal(lock); err != nil {
					t.Fatal(err)
				}
				w.write("package-lock.json", data)
			}
			r := w.audit(tt.args...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d\n%s%.2000s", r.code, tt.code, r.stderr, r.stdout)
			}
			all := r.stderr
			if tt.code != 2 {
				rep := r.report()
				for _, o := range rep.Others {
					for _, f := range o.Findings {
						all += o.Name + " " + string(o.Decision) + " " + f.Message + "\n"
					}
				}
				for _, n := range rep.Notes {
					all += n.Message + "\n"
				}
				if others := rep.Others; tt.row == "" && len(others) > 0 {
					t.Errorf("others %+v", others)
				}
			}
			if !strings.Contains(all, tt.row) {
				t.Errorf("nothing tells %q:\n%s", tt.row, all)
			}
		})
	}
}

// A symlink in node_modules swaps packages as well.
func TestSwappedByLink(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "ms"}, CI: lab.GitHub("acme/ms")}),
		w.publish(lab.Release{Package: lab.Package{Name: "tiny"}, CI: lab.GitHub("acme/tiny")}))
	w.write("node_modules/tiny/package.json", []byte(`{"name": "tiny", "version": "1.0.0"}`))
	if err := os.Symlink("tiny", filepath.Join(w.project, "node_modules", "ms")); err != nil {
		t.Fatal(err)
	}
	r := w.audit("node_modules")
	denied := func(o report.Other) bool { return o.Name == "ms" && o.Decision == policy.Decision(policy.Deny) }
	if others := r.report().Others; r.code != 1 || len(others) != 1 || !denied(others[0]) {
		t.Errorf("exit code %d, others %+v", r.code, others)
	}
}
