package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

const (
	commitA    = "26d16513386ffaa790b1c32f927544f1322e4194"
	commitB    = "5b8c0801d3e8c4d4b8c0f1b1a8a3f4c3f3b1c2d4"
	integrityA = "sha512-MJhyFgm9O1tSHBSYhVEgiGzvNwSDzO2VBPkXlT1KVmVMzYBXmKMqRCOGSwMRmYMgmAH6n6lVzU8Xr8nSIjyOuw=="
	integrityB = "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA=="
)

// row is a check that did not simply pass.
func row(id string, status verify.Status, reason, message string, values ...string) verify.Result {
	r := verify.Result{ID: id, Status: status, Reason: reason, Message: message}
	if len(values) == 2 {
		r.Expected, r.Actual = values[0], values[1]
	}
	return r
}

// pkg is a package whose checks pass but for the given rows.
func pkg(spec string, v verify.Verdict, d policy.Level, rows ...verify.Result) Package {
	i := strings.LastIndexByte(spec, '@')
	name, version := spec[:i], spec[i+1:]
	p := Package{
		Name: name, Version: version, PURL: "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + version, Registry: npmRegistry,
		Integrity: integrityA, Resolved: npmRegistry + "/" + name + "/-/x.tgz", Bound: "lockfile",
		Locations: []string{"node_modules/" + name}, File: "package-lock.json", Line: 100 + len(name), Path: []string{"app", "webpack", name},
		Verdict: v, Decision: policy.Decision(d), Findings: []policy.Finding{}, Further: []string{},
	}
	for _, id := range verify.IDs() {
		c := verify.Result{ID: id, Status: verify.Pass, Message: "the " + strings.ReplaceAll(id, "-", " ") + " holds"}
		switch {
		case v == verify.Provenance && id == "release-ref":
			c.Reason, c.Message, c.Expected, c.Actual = "tag", "built from the tag of this version", version, "v"+version
		case slices.Contains([]string{"tarball-integrity", "installed-files", "manifest"}, id):
			c = row(id, verify.Skip, "not-asked", "not asked for")
		case v != verify.Provenance && id != "lockfile-integrity" && id != "registry-signature":
			c = row(id, verify.Skip, "no-attestations", "the registry has no attestations for this version")
		}
		for _, r := range rows {
			if r.ID == id {
				c = r
			}
		}
		p.Checks = append(p.Checks, c)
	}
	for _, c := range p.Checks {
		switch {
		case v == verify.Invalid && c.Status == verify.Fail:
			p.Findings = append(p.Findings, policy.Finding{Rule: "invalid", Level: d, Message: c.ID + ": " + c.Message})
		case v == verify.Unchecked && c.Status == verify.Error:
			p.Findings = append(p.Findings, policy.Finding{Rule: "unchecked", Level: d, Message: c.ID + ": " + c.Message})
		}
	}
	switch v {
	case verify.Provenance:
		p.Publisher = github("sigstore/sigstore-js", "refs/tags/v"+version)
	case verify.Signed:
		p.Findings = append(p.Findings, policy.Finding{Rule: "signed", Level: d, Message: "the registry signed it; who built it is not attested"})
	}
	return p
}

func github(repo, ref string) *publisher.Publisher {
	owner, _, _ := strings.Cut(repo, "/")
	return &publisher.Publisher{
		Issuer: publisher.GitHubIssuer, Repository: "https://github.com/" + repo, RepositoryID: "495574555",
		Owner: "https://github.com/" + owner, OwnerID: "71096353", Workflow: ".github/workflows/release.yml", WorkflowDigest: commitA,
		Ref: ref, Commit: commitA, Event: "push", SignerRepository: "https://github.com/" + repo, SignerWorkflow: ".github/workflows/release.yml",
		SignerRef: ref, SignerDigest: commitA, Runner: "github-hosted", Visibility: "public",
		Run: "https://github.com/" + repo + "/actions/runs/5904696764/attempts/1", SignedAt: time.Date(2023, 8, 17, 20, 34, 51, 0, time.UTC), LogIndex: 33351527,
	}
}

func from(p Package, repo, ref string) Package {
	p.Publisher = github(repo, ref)
	return p
}

const (
	timedOut  = "the registry did not answer in time"
	mismatch  = "the lockfile and the registry name different bytes; one of them was changed: compare with a fresh install elsewhere before you use either"
	stripped  = "this version had attestations and the registry now serves none; do not install it before you know why"
	noRepo    = "the package claims no repository, so its publisher was compared with nothing; name it with --repo or pin it"
	fromURL   = "is fetched from a URL, so neither a registry nor a publisher vouches for it"
	fromGit   = "comes from git, so no registry vouches for it"
	wrongRepo = "the package claims another repository than the one it was built from"
)

// mixed covers every verdict and every decision.
func mixed() *Report {
	r := New()
	direct := pkg("left-pad@1.3.0", verify.Invalid, policy.Deny,
		row("lockfile-integrity", verify.Fail, "integrity-mismatch", mismatch, integrityA, integrityB))
	direct.Direct, direct.Path = true, []string{"app", "left-pad"}
	dev := pkg("@scope/builder@2.0.0-rc.1", verify.Invalid, policy.Deny,
		row("envelope-signature", verify.Fail, "signature-invalid", "the signature is not over this statement"),
		row("transparency-log", verify.Fail, "log-digest-mismatch", "the log holds another statement", strings.Repeat("ab", 32), strings.Repeat("cd", 32)))
	dev.Dev = true
	odd := from(pkg("ci-tool@4.1.0", verify.Provenance, policy.Allow), "someone/ci-tool", "refs/pull/12/merge")
	odd.Checks[len(odd.Checks)-1] = row("release-ref", verify.Pass, "pull-request", "built from a pull request", "a release", "pull_request")
	unknownRepo := from(pkg("no-repo@1.0.0", verify.Provenance, policy.Warn), "someone/no-repo", "refs/heads/main")
	unknownRepo.Findings = []policy.Finding{{Rule: "identity-unchecked", Level: policy.Warn, Message: noRepo}}
	unsigned := pkg("internal-lib@0.1.0", verify.Unsigned, policy.Warn, row("registry-signature", verify.Skip, "keys-absent", "the registry has no keys, so nothing of it is signed"))
	unsigned.Registry = "https://npm.example.com"
	unsigned.Findings = []policy.Finding{{Rule: "unsigned", Level: policy.Warn, Message: "neither the registry nor a publisher signed this package"}}
	unsignedDenied := pkg("bare@1.0.0", verify.Unsigned, policy.Deny,
		row("registry-signature", verify.Fail, "signature-missing", "the registry signs its packages and this one has no signature", "a signature by a key of "+npmRegistry, "none"))
	unsignedDenied.Findings = []policy.Finding{{Rule: "unsigned", Level: policy.Deny, Message: "the registry signs its packages and this one has no signature"}}
	old := pkg("old@0.0.9", verify.Signed, policy.Warn, row("registry-signature", verify.Pass, "time-unknown", "the registry's key has expired since"))
	loose := pkg("loose@3.0.0", verify.Signed, policy.Warn, row("lockfile-integrity", verify.Skip, "integrity-absent", "there is no integrity here, so nothing binds these bytes"))
	loose.Bound, loose.Integrity = "none", ""
	insecure := pkg("insecure@1.0.0", verify.Signed, policy.Warn,
		row("lockfile-integrity", verify.Pass, "resolved-insecure", "the lockfile fetches this package over plain HTTP; the integrity binds it all the same"))
	r.Packages = []Package{
		dev, unsignedDenied, odd, insecure, unsigned, direct, loose, unknownRepo, old,
		pkg("gone@1.1.0", verify.Invalid, policy.Deny, row("evidence-complete", verify.Fail, "attestation-stripped", stripped, "the attestations that this registry served before", "none")),
		pkg("gone-too@1.1.0", verify.Invalid, policy.Deny, row("evidence-complete", verify.Fail, "attestation-stripped", stripped, "the attestations that this registry served before", "none")),
		pkg("newer@9.0.0", verify.Unchecked, policy.Error, row("predicate", verify.Error, "build-type-unknown",
			`the statement follows rules that this version of assay does not know; a newer assay may (build type "https://example.com/build/v7")`)),
		pkg("sigstore@2.0.0", verify.Provenance, policy.Allow),
		pkg("@sigstore/bundle@1.1.0", verify.Provenance, policy.Allow),
	}
	for i := range 3 {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("slow-%d@1.0.0", i), verify.Unchecked, policy.Error,
			row("evidence-complete", verify.Error, "timeout", fmt.Sprintf("%s (fetching attestations of slow-%d@1.0.0: no answer within 30s)", timedOut, i))))
	}
	for i := range 20 {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("plain-%02d@1.0.%d", i, i), verify.Signed, policy.Warn))
	}
	r.Others = []Other{
		{Name: "app-utils", Version: "1.0.0", Source: "workspace", Locations: []string{"packages/utils"}, Decision: policy.Decision(policy.Allow), Findings: []policy.Finding{}},
		{Name: "forked", Version: "2.0.0", Source: "git", Resolved: "git+ssh://git@github.com/someone/forked.git#" + commitB, Locations: []string{"node_modules/forked"},
			File: "package-lock.json", Line: 77, Decision: policy.Decision(policy.Warn), Findings: []policy.Finding{{Rule: "source", Level: policy.Warn, Message: fromGit}}},
		{Name: "downloaded", Version: "0.0.1", Source: "url", Resolved: "https://example.com/downloads/x.tgz", Locations: []string{"node_modules/downloaded"},
			File: "package-lock.json", Line: 80, Decision: policy.Decision(policy.Deny), Findings: []policy.Finding{{Rule: "source", Level: policy.Deny, Message: fromURL, File: "assay.yaml", Line: 5}}},
	}
	r.Notes = []Note{{Code: "untrusted-registry", Message: `only the project names the registry "https://npm.example.com", so its keys are not believed; name it in your own .npmrc, with --registry, or in the policy`}}
	r.Trust = Trust{Root: "tuf-cache", RootSHA256: strings.Repeat("0a", 32), Keys: "tuf-cache", KeysSHA256: strings.Repeat("0b", 32), Stale: "trust-root-stale", Detail: "tuf-unreachable"}
	r.Invalid = []Invalid{{Code: "EATTESTATIONVERIFY", Message: "gone@1.1.0 failed evidence-complete: " + stripped, Integrity: integrityA, Location: "node_modules/gone", Name: "gone", Registry: npmRegistry + "/", Type: "dependencies", Version: "1.1.0"}}
	r.Missing = []Missing{{Integrity: integrityA, Location: "node_modules/bare", Name: "bare", Registry: npmRegistry + "/", Resolved: npmRegistry + "/bare/-/bare-1.0.0.tgz", Version: "1.0.0"}}
	r.Sum()
	return r
}

// clean is a project without trouble.
func clean() *Report {
	r := New()
	for i := range 14 {
		for j := range 14 - i {
			p := from(pkg(fmt.Sprintf("lib-%d-%d@1.0.0", i, j), verify.Provenance, policy.Allow), fmt.Sprintf("owner-%d/project-%d", i, i), "refs/heads/main")
			if j%3 == 1 {
				p.Publisher.Workflow = ".github/workflows/publish-with-a-long-name.yml"
			}
			r.Packages = append(r.Packages, p)
		}
	}
	for i := range 400 {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("plain-%d@1.0.0", i), verify.Signed, policy.Warn))
	}
	r.Sum()
	return r
}

// allAttested is what every project may come to one day.
func allAttested() *Report {
	r := New()
	r.Packages = []Package{pkg("sigstore@2.0.0", verify.Provenance, policy.Allow)}
	r.Sum()
	return r
}

// outage is an audit during which the registry went away.
func outage() *Report {
	r := New()
	for i := range 300 {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("dependency-%d@1.%d.0", i, i), verify.Unchecked, policy.Error,
			row("registry-signature", verify.Error, "timeout", fmt.Sprintf("%s (fetching dependency-%d@1.%d.0: no answer within 30s)", timedOut, i, i)),
			row("evidence-complete", verify.Error, "timeout", fmt.Sprintf("%s (fetching dependency-%d@1.%d.0: no answer within 30s)", timedOut, i, i))))
	}
	r.Packages = append(r.Packages, pkg("newer@9.0.0", verify.Unchecked, policy.Error, row("bundle-format", verify.Error, "media-type-unknown",
		`media type "application/vnd.dev.sigstore.bundle.v9+json"`)), pkg("fine@1.0.0", verify.Signed, policy.Warn))
	r.Sum()
	return r
}

// ruled is a project whose own rules speak: they deny, they let through, and they are written in a file.
func ruled() *Report {
	r := New()
	for i := range 8 {
		p := pkg(fmt.Sprintf("needs-provenance-%d@1.0.0", i), verify.Signed, policy.Deny)
		p.Findings = []policy.Finding{{Rule: "signed", Level: policy.Deny, Message: "the registry signed it; who built it is not attested", File: "assay.yaml", Line: 4}}
		r.Packages = append(r.Packages, p)
	}
	other := from(pkg("taken-over@2.0.0", verify.Provenance, policy.Deny), "evil/taken-over", "refs/heads/snapshot-x8Zq")
	other.Findings = []policy.Finding{
		{Rule: "publisher", Level: policy.Deny, Message: `repository "sigstore/sigstore-js" was demanded, and it is "https://github.com/evil/taken-over"`},
		{Rule: "unpinned", Level: policy.Warn, Message: "nothing is pinned for this package", File: "assay.yaml", Line: 9},
	}
	other.Checks[len(other.Checks)-1] = row("release-ref", verify.Pass, "snapshot-branch", "built from a branch that does not look like a release branch", "a release branch", "snapshot-x8Zq")
	let := pkg("known-bad@1.0.0", verify.Invalid, policy.Warn, row("workflow-identity", verify.Fail, "repository-mismatch", wrongRepo, "https://github.com/new/name", "https://github.com/old/name"))
	let.Findings[0].File, let.Findings[0].Line = "assay.yaml", 3
	unclear := pkg("unclear@1.0.0", verify.Unchecked, policy.Warn, row("evidence-complete", verify.Error, "announced-absent",
		"the registry announces attestations for this version and does not serve them; registries do lag: try again later, and keep the version you have until then (the registry answered 404)"))
	unclear.Findings[0].File, unclear.Findings[0].Line = "assay.yaml", 3
	demanded := pkg("demanded@1.0.0", verify.Unchecked, policy.Error, row("evidence-complete", verify.Error, "offline", "there is no network (--offline) and no evidence for it in the cache"))
	demanded.Findings = append(demanded.Findings, policy.Finding{Rule: "publisher", Level: policy.Error, Message: "a publisher was demanded, and none could be verified"})
	r.Packages = append(r.Packages, demanded, let, other, unclear)
	r.Sum()
	return r
}

// attack is text as an attacker would like it to reach a terminal.
var attack = []string{
	"\x1b[2J\x1b[H\x1b[32mAll packages verified\x1b[0m",
	"\x1b]0;owned\x07",
	"\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
	"a\nNothing is denied (exit 0).\n",
	"a\r\x1b[K",
	"\u202egpj.exe\u202c \u2066x\u2069",
	"zero\u200bwidth\ufeff\u00ad\u2060joined\u180e",
	"\u009b31mC1 \x7f\b\b\b",
	"tags\U000e0041\U000e0042 \ufe0f\U000e0101 \u3164\uffa0\u115f",
	"\xff\xfe\xc0\xaf not UTF-8",
	"Z\u0335\u0336\u0337\u0338\u0339\u033a\u033b\u033calgo",
	`literal \u{1b}[31m`,
	"sigst\u043ere", // Cyrillic o
	"spread     out   ",
	"\u2028\u2029\u0085",
	strings.Repeat("A\u0300long ", 2000),
}

// hostile puts every attack into every place of a report.
func hostile() *Report { return hostileWith(attack) }

// hostileShort leaves out the endless text, which nobody would read in a golden file.
func hostileShort() *Report { return hostileWith(attack[:len(attack)-1]) }

func hostileWith(texts []string) *Report {
	r := New()
	for i, s := range texts {
		p := pkg("evil@1.0.0", verify.Invalid, policy.Deny, row("lockfile-integrity", verify.Fail, s, s, s, s))
		p.Findings = append(p.Findings, policy.Finding{Rule: s, Level: policy.Deny, Message: s, File: s, Line: 1})
		q := from(pkg("evil@1.0.0", verify.Provenance, policy.Warn), s, s)
		q.Findings = []policy.Finding{{Rule: s, Level: policy.Warn, Message: s, File: s, Line: 1}}
		q.Checks[len(q.Checks)-1] = row("release-ref", verify.Pass, "odd-ref", s, s, s)
		q.Publisher.Workflow, q.Publisher.Run, q.Publisher.Event, q.Publisher.Runner, q.Publisher.Environment = s, s, s, s, s
		q.Publisher.Commit, q.Publisher.SignerRepository, q.Publisher.SignerWorkflow = s, s, s
		e := pkg("evil@1.0.0", verify.Unchecked, policy.Error, row(s, verify.Error, s, s), row("evidence-complete", verify.Error, s, s, s, s))
		for _, x := range []*Package{&p, &q, &e} {
			x.Name, x.Version, x.PURL, x.Registry, x.Integrity, x.Resolved, x.File = fmt.Sprint(s, i), s, s, s, s, s, s
			x.Locations, x.Path, x.Further = []string{s}, []string{s, s}, []string{s}
			r.Packages = append(r.Packages, *x)
		}
		r.Others = append(r.Others, Other{Name: s, Version: s, Source: "git", Resolved: s, Locations: []string{s}, File: s, Line: 1, Decision: policy.Decision(policy.Deny),
			Findings: []policy.Finding{{Rule: s, Level: policy.Deny, Message: s}}})
		r.Notes = append(r.Notes, Note{s, s})
		r.Invalid = append(r.Invalid, Invalid{Code: "EATTESTATIONVERIFY", Message: s, Name: s, Version: s, Location: s, Registry: s, KeyID: s, Signature: s, Resolved: s, Integrity: s})
		r.Missing = append(r.Missing, Missing{Name: s, Version: s, Location: s, Registry: s, Resolved: s, Integrity: s})
		r.Trust = Trust{Root: s, RootSHA256: s, Keys: s, KeysSHA256: s, Stale: s, Detail: s}
	}
	r.Sum()
	return r
}
