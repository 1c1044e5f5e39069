package verify

import (
	"bytes"
	"encoding/hex"
	"strings"

	"assay/internal/evidence"
	"assay/internal/publisher"
)

// A FileOutcome is what the checks found of an attestation over a file that is no package.
type FileOutcome struct {
	Checks []Result // those that do not hold, in the order of [IDs]; empty where all do
	// Publisher is who made the file; nil unless all checks hold.
	Publisher *publisher.Publisher
}

// fileChecks are the checks that ask about the attestation and not about a registry or a package.
var fileChecks = []string{
	"bundle-format", "certificate-chain", "certificate-transparency", "signing-time", "envelope-signature",
	"transparency-log", "predicate", "workflow-identity", "source-repository",
}

// File carries out those checks that apply to provenance of any file: a bundle, and the file's SHA-512. The
// statement has to be about this file alone. Whether the publisher is one to be believed is for the caller to say.
func File(bundle, sha512 []byte, trust Trust, issuers []string) *FileOutcome {
	f := gather(Input{
		Evidence: &evidence.Evidence{Attestations: evidence.Answer{State: evidence.Served, Body: bundle}},
		Trust:    trust,
		Options:  Options{BundleGiven: true, Issuers: issuers},
	})
	out := &FileOutcome{}
	add := func(id string, o outcome) {
		out.Checks = append(out.Checks, Result{
			ID: id, Status: o.status, Reason: o.reason,
			Message: shorten(sentence(id, o)), Expected: shorten(o.expected), Actual: shorten(o.actual),
		})
	}
	if f.list.reason != "" {
		add("bundle-format", fail(f.list.reason, "", "").with(f.list.detail))
		return out
	}
	if len(f.attestations) != 1 {
		add("bundle-format", fail(reasonDuplicate, "one bundle", "several"))
		return out
	}
	for _, c := range checks {
		for _, id := range fileChecks {
			if c.id != id {
				continue
			}
			if o := c.run(f); o.status != Pass && !(o.status == Skip && o.reason == reasonRepositoryAbsent) {
				add(id, o)
			}
		}
		if c.id == "subject" {
			if o := fileSubject(f.attestations[0], sha512); o.status != Pass {
				add(c.id, o)
			}
		}
	}
	if len(out.Checks) > 0 {
		return out
	}
	if out.Publisher = f.publisher(); out.Publisher == nil {
		add("predicate", skip(reasonNotProvenance))
	}
	return out
}

// fileSubject holds when the statement is about exactly this file: one subject with its sha512.
func fileSubject(a *attestation, sha512 []byte) outcome {
	if a.statement == nil {
		return fail(reasonStatementUnreadable, "", "")
	}
	if len(a.statement.Subject) != 1 {
		return fail(reasonSubjectCount, "1", "another number")
	}
	text := a.statement.Subject[0].Digest["sha512"]
	if text == "" {
		return fail(reasonSubjectDigestAbsent, hexOf(sha512), "")
	}
	if digest, err := hex.DecodeString(strings.ToLower(text)); err != nil || len(digest) == 0 || !bytes.Equal(digest, sha512) {
		return fail(reasonSubjectDigest, hexOf(sha512), text)
	}
	return pass()
}
