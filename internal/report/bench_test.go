package report

import (
	"fmt"
	"io"
	"testing"
	"time"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// bigReport is the report of a large project: n packages, one in five attested.
func bigReport(n int) *Report {
	r := New()
	for i := range n {
		name := fmt.Sprintf("package-%d", i)
		p := Package{
			Name: name, Version: "1.2.3", PURL: "pkg:npm/" + name + "@1.2.3", Registry: npmRegistry,
			Integrity: "sha512-MJhyFgm9O1tSHBSYhVEgiGzvNwSDzO2VBPkXlT1KVmVMzYBXmKMqRCOGSwMRmYMgmAH6n6lVzU8Xr8nSIjyOuw==",
			Resolved:  npmRegistry + "/" + name + "/-/" + name + "-1.2.3.tgz", Bound: "lockfile",
			Locations: []string{"node_modules/" + name}, File: "package-lock.json", Line: 10 * i,
			Path: []string{"app", "parent", name}, Verdict: verify.Signed, Decision: policy.Decision(policy.Warn),
			Findings: []policy.Finding{{Rule: "signed", Level: policy.Warn, Message: "the registry signed it; who built it is not attested"}},
			Further:  []string{},
		}
		attested := i%5 == 0
		for _, id := range verify.IDs() {
			c := verify.Result{ID: id, Status: verify.Skip, Reason: "no-attestations", Message: "the registry has no attestations for this version"}
			if attested || id == "lockfile-integrity" || id == "registry-signature" {
				c = verify.Result{ID: id, Status: verify.Pass, Message: "the statement's repository and commit are the certificate's and the package's"}
			}
			if attested && id == "release-ref" {
				c.Reason, c.Expected, c.Actual = "tag", "1.2.3", fmt.Sprintf("v1.2.%d", i)
			}
			p.Checks = append(p.Checks, c)
		}
		if attested {
			p.Verdict, p.Decision, p.Findings = verify.Provenance, policy.Decision(policy.Allow), []policy.Finding{}
			p.Publisher = &publisher.Publisher{
				Issuer: publisher.GitHubIssuer, Repository: fmt.Sprintf("https://github.com/owner/repo-%d", i%90), RepositoryID: "495574555",
				Owner: "https://github.com/owner", OwnerID: "71096353", Workflow: ".github/workflows/release.yml",
				WorkflowDigest: "5b8c0801d3e8c4d4b8c0f1b1a8a3f4c3f3b1c2d4", Ref: "refs/heads/main", Commit: "5b8c0801d3e8c4d4b8c0f1b1a8a3f4c3f3b1c2d4",
				Event: "push", SignerRepository: fmt.Sprintf("https://github.com/owner/repo-%d", i%90), SignerWorkflow: ".github/workflows/release.yml",
				SignerRef: "refs/heads/main", SignerDigest: "5b8c0801d3e8c4d4b8c0f1b1a8a3f4c3f3b1c2d4", Runner: "github-hosted", Visibility: "public",
				Run: "https://github.com/owner/repo/actions/runs/1/attempts/1", SignedAt: time.Date(2023, 8, 17, 12, 0, 0, 0, time.UTC), LogIndex: 33351527,
			}
		}
		r.Packages = append(r.Packages, p)
	}
	r.Sum()
	return r
}

func BenchmarkWriteJSON(b *testing.B) {
	r := bigReport(1500)
	b.ReportAllocs()
	for b.Loop() {
		n := &counter{}
		if err := WriteJSON(n, r); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n.n))
	}
}

func BenchmarkWriteText(b *testing.B) {
	r := bigReport(1500)
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteText(io.Discard, r, TextOptions{Width: 80, Color: true}); err != nil {
			b.Fatal(err)
		}
	}
}

type counter struct{ n int }

func (c *counter) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }
