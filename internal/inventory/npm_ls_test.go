package inventory

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A listing is the output of npm ls --json.
type listing struct {
	Version, Resolved string
	Missing           bool
	Dependencies      map[string]listing
}

// collect gathers name@version of all that is listed, by the name it is installed under.
func (l listing) collect(into map[string]bool) {
	for name, d := range l.Dependencies {
		if d.Missing || d.Version == "" {
			continue
		}
		if !strings.HasPrefix(d.Resolved, "file:") {
			into[name+"@"+d.Version] = true
		}
		d.collect(into)
	}
}

// npm counts on its own, over the same lockfiles and with the same restrictions.
func TestAgainstNpmLs(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is absent: its own list cannot be asked for")
	}
	corpus := corpusDir(t)
	tests := []struct {
		lockfile string
		opts     Options
		args     []string
	}{
		{"undici-v3", Options{}, nil},
		{"npm-cli-v3", Options{Omit: []string{"dev"}}, []string{"--omit=dev"}},
		{"sigstore-js-v3", Options{}, nil},
		{"sigstore-js-v3", Options{Omit: []string{"dev", "optional"}}, []string{"--omit=dev", "--omit=optional"}},
		{"sigstore-js-v3", Options{Workspaces: []string{"@sigstore/sign"}}, []string{"-w", "@sigstore/sign"}},
		{"sigstore-js-v3", Options{Workspaces: []string{"@sigstore/cli", "packages/tuf"}}, []string{"-w", "@sigstore/cli", "-w", "packages/tuf"}},
		{"socket.io-v3", Options{Workspaces: []string{"engine.io"}, IncludeWorkspaceRoot: true}, []string{"-w", "engine.io", "--include-workspace-root"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(append([]string{tt.lockfile}, tt.args...), " "), func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(corpus, "lockfiles", tt.lockfile, "package-lock.json"))
			if err != nil {
				t.Skipf("not in this corpus: %v", err)
			}
			dir := projectDir(t, "package-lock.json", data)
			cmd := exec.Command(npm, append([]string{"ls", "--all", "--json", "--package-lock-only", "--offline"}, tt.args...)...)
			cmd.Dir = dir
			out, err := cmd.Output() // npm ends in 1 where a peer dependency is not met
			var l listing
			if jsonErr := json.Unmarshal(out, &l); jsonErr != nil {
				t.Fatalf("npm ls: %v, %v", err, jsonErr)
			}
			want := make(map[string]bool)
			l.collect(want)

			p, err := Open(dir, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			// Where npm does not repeat what a workspace is made of, it does not say that it is one.
			all, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all.Others {
				if o.Source == SourceWorkspace {
					delete(want, o.Name+"@"+o.Version)
				}
			}
			got := make(map[string]bool)
			for _, q := range p.Packages {
				for _, n := range q.Nodes {
					got[p.Nodes[n].Name+"@"+q.Version] = true
				}
			}
			for _, o := range p.Others {
				if o.Source != SourceWorkspace && o.Source != SourceLink {
					got[o.Name+"@"+o.Version] = true
				}
			}
			list := func(m map[string]bool) []string {
				var s []string
				for k := range m {
					s = append(s, k)
				}
				slices.Sort(s)
				return s
			}
			if diff := cmp.Diff(list(want), list(got)); diff != "" {
				t.Errorf("%d, npm lists %d (-npm +ours):\n%s", len(got), len(want), diff)
			}
			if len(want) == 0 {
				t.Error("npm lists nothing")
			}
		})
	}
}
