package demo

import (
	"fmt"
	"strings"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

// A story is one package of the application: how it came to be, and what Assay has to say of it.
type story struct {
	name, version string
	done          string                       // what was done, in a sentence or two
	note          string                       // what else a reader should know; "" for nothing
	publish       func(*lab.Lab) []lab.Release // names, versions and times are filled in; the last one is what the application uses
	later         func(*Demo) error            // what goes wrong after the first look; nil: nothing
	want          expectation
}

// id is "name@version".
func (s *story) id() string { return s.name + "@" + s.version }

// trouble reports whether the story has a part of its own, rather than a line among those without trouble.
func (s *story) trouble() bool { return s.done != "" }

// An expectation is what Assay has to say. Empty fields are not looked at.
type expectation struct {
	verdict  verify.Verdict
	decision policy.Level
	check    string // a check that has to end as status, with this reason
	status   verify.Status
	reason   string
	runner   string // the verified publisher's
}

// fail expects that a check fails and that the package is denied for it.
func fail(check, reason string) expectation {
	return expectation{verdict: verify.Invalid, decision: policy.Deny, check: check, status: verify.Fail, reason: reason}
}

// built expects verified provenance, and tells what release-ref has to say of it.
func built(reason string) expectation {
	return expectation{verdict: verify.Provenance, decision: policy.Allow, check: "release-ref", status: verify.Pass, reason: reason}
}

// missed says in what a row differs from what was expected; "" where it does not. A nil row is a package that was not
// looked at.
func (e *expectation) missed(row *report.Package) string {
	if row == nil {
		return "it is not in the report"
	}
	var wrong []string
	expect := func(what, want, got string) {
		if want != "" && want != got {
			wrong = append(wrong, fmt.Sprintf("%s %s, and it is %s", what, want, orNone(got)))
		}
	}
	expect("verdict", string(e.verdict), string(row.Verdict))
	expect("decision", string(e.decision), string(row.Decision))
	if e.check != "" {
		c := result(row, e.check)
		expect(e.check, strings.TrimSpace(string(e.status)+" "+e.reason), strings.TrimSpace(string(c.Status)+" "+c.Reason))
	}
	if e.runner != "" {
		got := ""
		if row.Publisher != nil {
			got = row.Publisher.Runner
		}
		expect("runner", e.runner, got)
	}
	if wrong == nil {
		return ""
	}
	return "expected " + strings.Join(wrong, "; ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// result is the row's result of a check; the zero value if there is none.
func result(row *report.Package, id string) verify.Result {
	for _, c := range row.Checks {
		if c.ID == id {
			return c
		}
	}
	return verify.Result{}
}

// one is a single release.
func one(r lab.Release) []lab.Release { return []lab.Release{r} }

// fromMain is a release from acme's repository of the same name, built on a push to main.
func fromMain(name string) func(*lab.Lab) []lab.Release {
	return func(*lab.Lab) []lab.Release { return one(lab.Release{CI: lab.GitHub("acme/" + name)}) }
}

func unattested(*lab.Lab) []lab.Release { return one(lab.Release{}) }

// newerLog is the package whose provenance lies in a Rekor v2 log.
const newerLog = "@acme/rekor-v2"

// stories are told in this order: what has to be denied, what looks fine and deserves a look, the rest.
func stories() []story {
	return []story{
		{
			name: "from-fork", version: "1.0.0",
			done: "Built and attested by a workflow of mallory/from-fork, while its package.json names acme/from-fork. Every signature is genuine.",
			publish: func(*lab.Lab) []lab.Release {
				return one(lab.Release{CI: lab.GitHub("mallory/from-fork"), Package: lab.Package{Manifest: map[string]any{
					"repository": map[string]any{"type": "git", "url": "git+https://github.com/acme/from-fork.git"},
				}}})
			},
			want: fail("workflow-identity", "repository-mismatch"),
		},
		{
			name: "tampered", version: "1.0.0",
			done:    "After the first look, the registry's tarball was replaced by other bytes. What the registry says about it stayed as it was.",
			publish: fromMain("tampered"), later: (*Demo).replaceTarball,
			want: fail("tarball-integrity", "tarball-mismatch"),
		},
		{
			name: "stripped", version: "1.0.0",
			done:    "It had provenance at the first look. Since then the registry neither announces nor serves it.",
			publish: fromMain("stripped"), later: func(d *Demo) error { return d.lab.Strip("stripped", "1.0.0") },
			want: fail("evidence-complete", "attestation-stripped"),
		},
		{
			name: "other-bytes", version: "1.0.0",
			done:    "A change to package-lock.json gave it the integrity of other bytes.",
			publish: fromMain("other-bytes"), later: (*Demo).lockOtherBytes,
			want: fail("lockfile-integrity", "integrity-mismatch"),
		},
		{
			name: "other-host", version: "1.0.0",
			done:    "A change to package-lock.json made it come from another server, with the integrity of what lies there.",
			publish: fromMain("other-host"), later: (*Demo).lockOtherHost,
			want: fail("lockfile-integrity", "resolved-elsewhere"),
		},
		{
			name: "unsigned", version: "1.0.0",
			done: "The registry signs what it accepts, and this one has no signature.",
			publish: func(*lab.Lab) []lab.Release {
				return one(lab.Release{Unsigned: true})
			},
			want: expectation{verdict: verify.Unsigned, decision: policy.Deny, check: "registry-signature", status: verify.Fail, reason: "signature-missing"},
		},
		{
			name: "downgraded", version: "1.1.0",
			done: "1.0.0 was built by a workflow and attested. 1.1.0 came from somebody's machine, with a stolen token or an honest one.",
			note: "That 1.0.0 had provenance takes a second command to see.",
			publish: func(*lab.Lab) []lab.Release {
				return []lab.Release{
					{CI: lab.GitHub("acme/downgraded"), Package: lab.Package{Version: "1.0.0"}},
					{Package: lab.Package{Manifest: map[string]any{
						"repository": map[string]any{"type": "git", "url": "git+https://github.com/acme/downgraded.git"},
					}}},
				}
			},
			want: expectation{verdict: verify.Signed, decision: policy.Warn, check: "evidence-complete", status: verify.Skip, reason: "no-attestations"},
		},
		{
			name: "from-pull-request", version: "1.0.0",
			done: "Built by acme's own release workflow, on a pull request that nobody has merged.",
			note: "The provenance holds, so it is let through unless more is asked for: --event push.",
			publish: func(*lab.Lab) []lab.Release {
				run := lab.GitHub("acme/from-pull-request")
				run.Event, run.Ref, run.Subject = "pull_request", "refs/pull/7/merge", "repo:acme/from-pull-request:pull_request"
				return one(lab.Release{CI: run})
			},
			want: built("pull-request"),
		},
		{
			name: "self-hosted", version: "1.0.0",
			done: "Built by acme's release workflow on a runner of its own. Whoever owns that machine can change what it builds.",
			note: "The provenance holds, so it is let through unless more is asked for: --deny-self-hosted-runners.",
			publish: func(*lab.Lab) []lab.Release {
				run := lab.GitHub("acme/self-hosted")
				run.Runner = "self-hosted"
				return one(lab.Release{CI: run})
			},
			want: expectation{verdict: verify.Provenance, decision: policy.Allow, runner: "self-hosted"},
		},
		{
			name: "honest", version: "2.1.0",
			publish: func(*lab.Lab) []lab.Release {
				run := lab.GitHub("acme/honest")
				run.Event, run.Ref, run.Subject = "release", "refs/tags/v2.1.0", "repo:acme/honest:ref:refs/tags/v2.1.0"
				return one(lab.Release{CI: run})
			},
			want: built("tag"),
		},
		{
			name: "reusable-workflow", version: "1.0.0",
			publish: func(*lab.Lab) []lab.Release {
				run := lab.GitHub("acme/reusable-workflow")
				run.Signer = "acme/workflows/.github/workflows/publish.yml@refs/tags/v3"
				run.SignerSHA = lab.GitHub("acme/workflows").SHA
				return one(lab.Release{CI: run})
			},
			want: built("branch"),
		},
		{
			name: "from-gitlab", version: "1.0.0",
			publish: func(*lab.Lab) []lab.Release { return one(lab.Release{CI: lab.GitLab("acme/tools/from-gitlab")}) },
			want:    built("branch"),
		},
		{
			name: newerLog, version: "1.0.0",
			publish: func(l *lab.Lab) []lab.Release {
				return one(lab.Release{CI: lab.GitHub("acme/rekor-v2"), Log: l.RekorV2})
			},
			want: built("branch"),
		},
		{
			name: "signed-only", version: "1.0.0", publish: unattested,
			want: expectation{verdict: verify.Signed, decision: policy.Warn, check: "registry-signature", status: verify.Pass},
		},
	}
}
