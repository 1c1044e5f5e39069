package doctor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func corpus(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	if _, err := os.Stat(filepath.Join(dir, "cases.jsonl")); err != nil {
		t.Skipf("the corpus is not here: %v (set ASSAY_CORPUS)", err)
	}
	return dir
}

// keyFindings are what a reader finds in each of these workflows, as far as rules tell; "!" before a rule: it would be noise.
var keyFindings = map[string]string{
	"wf-sigstore-js-release":             "build-with-credentials cache-in-publish environment-missing !unpinned-action !id-token-missing",
	"wf-vue-core-release":                "unpinned-tool build-with-credentials permissions-missing !unpinned-action !persist-credentials !cache-in-publish",
	"wf-nuxt-release":                    "hidden-publish build-with-credentials environment-missing !permissions-missing !cache-in-publish !tag-pattern",
	"wf-webpack-release":                 "id-token-workflow-level secrets-inherit cache-in-publish !long-lived-token",
	"wf-hono-release":                    "tag-pattern build-with-credentials other-registry !unpinned-tool !unpinned-action !provenance-implicit",
	"wf-hono-release-2024":               "trigger-unfiltered unpinned-action other-registry !provenance-missing !environment-missing",
	"wf-svelte-release":                  "build-with-credentials cache-in-publish !provenance-implicit !permissions-missing",
	"wf-vitest-publish":                  "hidden-publish !unpinned-tool !environment-missing !template-injection",
	"wf-socket.io-publish":               "unpinned-action provenance-implicit !template-injection !long-lived-token !tag-pattern",
	"wf-socket.io-publish-2024":          "long-lived-token unpinned-action registry-url-missing trigger-mixed !provenance-missing !id-token-missing",
	"wf-zod-release":                     "permissions-missing unpinned-action unpinned-tool other-registry !provenance-missing",
	"wf-semantic-release-release":        "long-lived-token unpinned-tool cache-in-publish !unpinned-action",
	"wf-undici-release":                  "persist-credentials provenance-implicit !environment-missing !permissions-missing",
	"wf-changesets-publish":              "unusual-action-reference split-build !cache-in-publish !environment-missing",
	"wf-node-semver-release-integration": "unpinned-action id-token-workflow-level long-lived-token unlocked-install reusable-publisher !provenance-missing",
	"wf-vueuse-publish":                  "risky-trigger id-token-workflow-level unpinned-tool tree-changed cache-in-publish unlocked-install commit-mismatch !persist-credentials",
	"wf-vueuse-publish-2020":             "id-token-missing permissions-missing long-lived-token unpinned-action",
	"wf-elysia-publish":                  "unpinned-action unpinned-tool unlocked-install debug-logging id-token-workflow-level !long-lived-token",
	"wf-sitespeed-release":               "id-token-workflow-level commit-mismatch !hidden-publish !unpinned-action",
	"wf-cyclonedx-node-npm-release":      "split-build commit-mismatch !unlocked-install !unpinned-action !template-injection",
	"wf-cnpmcore-release":                "unpinned-workflow publish-elsewhere id-token-workflow-level",
	"wf-vlt-release":                     "permissions-missing unpinned-action template-injection other-registry !registry-url-missing",
	"wf-deno-npm-publish":                "permissions-missing template-injection other-registry split-build hidden-publish !unpinned-tool",
	"wf-npmx-release-tag":                "pin-comment !unpinned-action !environment-missing !cache-in-publish",
	"wf-astro-release":                   "permissions-missing build-with-credentials template-injection !long-lived-token",
	"wf-astro-preview-release":           "other-registry risky-trigger !environment-missing !provenance-missing",
	"wf-pacote-release":                  "unpinned-action long-lived-token publish-elsewhere",
	"wf-gitlab-npm-publish":              "provenance-off gitlab-sigstore-token image-unpinned other-registry !id-token-missing",
}

// TestCorpus judges every real workflow of the corpus by itself, as its repository has it.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	cases, err := os.ReadFile(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	lines := bufio.NewScanner(bytes.NewReader(cases))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var tt struct{ ID, Kind, File, Expect, Source string }
		if err := json.Unmarshal(lines.Bytes(), &tt); err != nil {
			t.Fatal(err)
		}
		if tt.Kind != "workflow" {
			continue
		}
		seen++
		t.Run(tt.ID, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, tt.File))
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ := strings.Cut(tt.Source, ":")
			r, err := Check(fstest.MapFS{name: {Data: data}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]Level{"fail": Error, "warn": Warn, "pass": Info}[tt.Expect]
			if got := r.Worst(); got != want && !(want == Info && got == "") {
				t.Errorf("worst finding is %q, want %q", got, want)
			}
			for _, rule := range strings.Fields(keyFindings[tt.ID]) {
				id, noise := strings.CutPrefix(rule, "!")
				if _, ok := ruleByID(id); !ok {
					t.Errorf("there is no rule %s", id)
				}
				if slices.Contains(broken(r), id) == noise {
					t.Errorf("%s: found is %v", id, noise)
				}
			}
			if testing.Verbose() {
				for _, p := range r.Publishes {
					t.Logf("PUBLISH %d %s %s -> %s via=%s guessed=%v", p.Line, p.Job, p.Tool, p.Registry, p.Via, p.Guessed)
				}
				for _, f := range r.Findings {
					t.Logf("%s %s:%d [%s] %s", f.Level, f.Rule, f.Line, f.Job, f.Message)
				}
			}
		})
	}
	if seen == 0 {
		t.Fatal("the corpus has no workflow")
	}
}
