package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strings"

	"assay/internal/evidence"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// An Attestation is a signed provenance that verified.
type Attestation struct {
	Bundle    []byte // Sigstore bundle v0.3, JSON
	Statement []byte
	Publisher *publisher.Publisher
	LogIndex  int64  // of the first log entry
	Log       string // base URL of that log
	Signed    bool   // made in this run; false for one that came from a file
}

// Attest signs provenance for a tarball in this job and verifies it as a consumer will. What it makes stands in a
// public log from then on, also if it returns an error.
func (j *Job) Attest(ctx context.Context, p *Package) (*Attestation, error) {
	statement, err := j.o.CI.Statement(p.ID(), p.Tarball.SHA512)
	if err != nil {
		return nil, err
	}
	a, err := j.signed(ctx, statement)
	if err != nil {
		return nil, err
	}
	out, err := j.Check(p, a.Bundle)
	if err != nil {
		return nil, err
	}
	a.Publisher = out.Publisher
	return a, j.sameIdentity(out.Publisher)
}

// signed signs a statement and enters it into the logs.
func (j *Job) signed(ctx context.Context, statement []byte) (*Attestation, error) {
	// The token is asked for again, since it lives for minutes and a build may have taken longer.
	token, err := j.preflightToken(ctx)
	if err != nil {
		return nil, err
	}
	s, err := j.signer(ctx, token)
	if err != nil {
		return nil, err
	}
	return j.enter(ctx, s, statement, j.say)
}

// A signer is a certificate of this job's identity with its key, good for minutes.
type signer struct {
	key  *ecdsa.PrivateKey
	leaf *x509.Certificate
}

// signer gets a certificate for a new key.
func (j *Job) signer(ctx context.Context, token *IDToken) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	j.say("asking %s for a certificate", publicURL(j.o.Services.Fulcio))
	leaf, err := j.c.certificate(ctx, j.o.Services.Fulcio, token, key)
	if err != nil {
		return nil, err
	}
	return &signer{key, leaf}, nil
}

// enter signs a statement and enters it into the logs.
func (j *Job) enter(ctx context.Context, s *signer, statement []byte, say func(format string, args ...any)) (*Attestation, error) {
	b := &bundle{MediaType: bundleMediaType, Envelope: envelope{Payload: statement, PayloadType: payloadType}}
	b.Material.Certificate.RawBytes = s.leaf.Raw
	sig, err := sign(s.key, b.Envelope.pae())
	if err != nil {
		return nil, err
	}
	b.Envelope.Signatures = []signature{{Sig: sig}}
	// Timestamps come before the log: where there are none to be had, no public entry is made in vain.
	for _, address := range j.o.Services.TSA {
		say("asking %s for a timestamp", publicURL(address))
		der, err := j.c.timestamp(ctx, address, sig)
		if err != nil {
			return nil, err
		}
		b.Material.Timestamps.RFC3161 = append(b.Material.Timestamps.RFC3161, timestamp{der})
	}
	for _, base := range j.o.Services.Rekor {
		enter := j.c.logV1
		if j.o.Services.RekorVersion == 2 {
			enter = j.c.logV2
		}
		e, err := enter(ctx, base, &b.Envelope, s.leaf.Raw)
		if err != nil {
			return nil, err
		}
		say("entered into the transparency log %s as %d: repository, workflow, commit and package are public from now on", publicURL(base), e.LogIndex)
		b.Material.Entries = append(b.Material.Entries, e)
	}
	text, err := b.json()
	if err != nil {
		return nil, err
	}
	return &Attestation{Bundle: text, Statement: statement, LogIndex: b.Material.Entries[0].LogIndex, Log: j.o.Services.Rekor[0], Signed: true}, nil
}

// Check verifies a bundle for a tarball exactly as a consumer will who has the same trusted root, and returns a
// [*Refusal] that names what does not hold.
func (j *Job) Check(p *Package, bundle []byte) (*verify.Outcome, error) {
	ev := &evidence.Evidence{
		ID: p.ID(), Registry: j.o.Registry, Tarball: p.Tarball,
		Attestations: evidence.Answer{State: evidence.Served, Body: bundle},
	}
	out := verify.Run(verify.Input{
		Package: verify.Package{ID: p.ID(), Registry: j.o.Registry}, Evidence: ev,
		Trust:   verify.Trust{Root: j.o.Root, RootDigest: j.o.RootDigest, KeyState: verify.KeysNotAsked},
		Options: verify.Options{BundleGiven: true, Issuers: j.o.Issuers},
	})
	if out.Verdict == verify.Provenance && !out.RepositoryAbsent {
		return out, nil
	}
	var wrong []string
	for _, r := range out.Checks {
		if r.Status == verify.Fail || r.Status == verify.Error {
			wrong = append(wrong, row(r))
		}
	}
	if wrong == nil {
		wrong = []string{"the verdict is " + string(out.Verdict)}
	}
	return out, refuse("own-bundle", "nothing was uploaded; if the signature is from another Sigstore than the public one, name its --trusted-root",
		"a consumer would refuse this attestation: %s", strings.Join(wrong, "; "))
}

// row is a check's result in a line.
func row(r verify.Result) string {
	text := r.ID + " (" + r.Reason + "): " + strings.TrimSuffix(r.Message, ".")
	if r.Expected != "" || r.Actual != "" {
		text += fmt.Sprintf(" [expected %.200q, found %.200q]", r.Expected, r.Actual)
	}
	return text
}

// CheckDocument makes sure, before anything is signed, that the document says of the package what the tarball says.
func (j *Job) CheckDocument(p *Package, d *Document) error {
	out := verify.Run(verify.Input{
		Package: verify.Package{ID: p.ID(), Registry: j.o.Registry},
		Evidence: &evidence.Evidence{ID: p.ID(), Registry: j.o.Registry, Tarball: p.Tarball,
			Document: evidence.Answer{State: evidence.Served, Body: d.Version}},
		Trust: verify.Trust{Root: j.o.Root, RootDigest: j.o.RootDigest, KeyState: verify.KeysNotAsked},
	})
	for _, r := range out.Checks {
		if (r.ID == "manifest" || r.ID == "tarball-integrity") && r.Status != verify.Pass {
			return refuse("document", "", "what npm would tell the registry is not what the tarball holds: %s", row(r))
		}
	}
	return nil
}

// sameIdentity refuses a certificate that verifies and is not this job's.
func (j *Job) sameIdentity(p *publisher.Publisher) error {
	ci := j.o.CI
	for _, c := range []struct{ what, want, got string }{
		{"repository", ci.RepositoryURL(), p.Repository}, {"commit", ci.Commit(), p.Commit},
	} {
		if c.want != c.got {
			return refuse("certificate-identity", "", "the certificate is for %s %q, and this job's is %q", c.what, c.got, c.want)
		}
	}
	return nil
}
