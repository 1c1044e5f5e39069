package publish

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"sync"
	"time"

	"assay/internal/publisher"
	"assay/internal/sigstore"
)

// A signer is a certificate of this job's identity with its key, good for minutes.
type signer struct {
	key      *ecdsa.PrivateKey
	leaf     *x509.Certificate
	identity string // URI of the workflow that the certificate names
}

// margin is how long before its end a certificate is not used any more: the log's clock is not this one's.
const margin = time.Minute

// maxAtOnce bounds the statements that are being signed at one time: a log of version 2 answers only when it has
// written a checkpoint, which takes seconds, and public services are to be treated gently.
const maxAtOnce = 8

// SignStatements signs in-toto statements of the caller's own with this job's identity: one certificate for all, as
// long as it is good, and one entry in each log for every statement. make is told the identity in the certificate, the
// URI of the workflow, so that statements can name who signs them, and returns the statements, in JSON. The result has
// one attestation for each, in the same order, without a publisher of its own where the statement is no provenance;
// each was verified with the trusted root.
//
// That the runner is the maintainer's own is no obstacle here, since no registry takes these statements; that the
// repository is private is, as for [Job.Attest]. What was signed before an error stands in the public log.
func (j *Job) SignStatements(ctx context.Context, about func(identity string) ([][]byte, error)) ([]*Attestation, error) {
	now, err := j.signer(ctx)
	if err != nil {
		return nil, err
	}
	statements, err := about(now.identity)
	if err != nil || len(statements) == 0 {
		return nil, err
	}
	j.say("entering %d statements into the transparency log %s: repository, workflow and commit are public from now on", len(statements), publicURL(j.o.Services.Rekor[0]))
	var mu sync.Mutex // guards now
	current := func(ctx context.Context) (*signer, error) {
		mu.Lock()
		defer mu.Unlock()
		if j.o.Now().Before(now.leaf.NotAfter.Add(-margin)) {
			return now, nil
		}
		next, err := j.signer(ctx)
		if err != nil {
			return nil, err
		}
		if next.identity != now.identity {
			return nil, refuse("certificate-identity", "", "the next certificate is for %q, and the first was for %q", next.identity, now.identity)
		}
		now = next
		return now, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]*Attestation, len(statements))
	work := newQueue(len(statements))
	var group sync.WaitGroup
	for range min(maxAtOnce, len(statements)) {
		group.Go(func() {
			for i := range work {
				if ctx.Err() != nil {
					return
				}
				c, err := current(ctx)
				if err == nil {
					out[i], err = j.seal(ctx, c, statements[i])
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return out, nil
}

// newQueue is a closed channel of the numbers below n.
func newQueue(n int) <-chan int {
	c := make(chan int, n)
	for i := range n {
		c <- i
	}
	close(c)
	return c
}

// signer gets a certificate of this job's identity for a new key.
func (j *Job) signer(ctx context.Context) (*signer, error) {
	token, err := j.c.sigstoreToken(ctx, j.o.CI, j.o.Registry, j.o.Now())
	if err != nil {
		return nil, err
	}
	if err := token.acceptable(j.o.CI.Provider, j.o.AllowPrivate, true); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	j.say("asking %s for a certificate", publicURL(j.o.Services.Fulcio))
	leaf, err := j.c.certificate(ctx, j.o.Services.Fulcio, token, key)
	if err != nil {
		return nil, err
	}
	cert, err := publisher.ReadCertificate(leaf)
	if err != nil {
		return nil, refuse("certificate-identity", "", "the certificate does not say for which workflow it is: %v", err)
	}
	return &signer{key, leaf, cert.SubjectURI}, nil
}

// seal signs one statement, enters it into the logs, and verifies what comes of it.
func (j *Job) seal(ctx context.Context, c *signer, statement []byte) (*Attestation, error) {
	b := &bundle{MediaType: bundleMediaType, Envelope: envelope{Payload: statement, PayloadType: payloadType}}
	b.Material.Certificate.RawBytes = c.leaf.Raw
	sig, err := sign(c.key, b.Envelope.pae())
	if err != nil {
		return nil, err
	}
	b.Envelope.Signatures = []signature{{Sig: sig}}
	for _, address := range j.o.Services.TSA {
		der, err := j.c.timestamp(ctx, address, sig)
		if err != nil {
			return nil, err
		}
		b.Material.Timestamps.RFC3161 = append(b.Material.Timestamps.RFC3161, timestamp{der})
	}
	enter := j.c.logV1
	if j.o.Services.RekorVersion == 2 {
		enter = j.c.logV2
	}
	for _, base := range j.o.Services.Rekor {
		e, err := enter(ctx, base, &b.Envelope, c.leaf.Raw)
		if err != nil {
			return nil, err
		}
		b.Material.Entries = append(b.Material.Entries, e)
	}
	text, err := b.json()
	if err != nil {
		return nil, err
	}
	a := &Attestation{Bundle: text, Statement: statement, LogIndex: b.Material.Entries[0].LogIndex, Log: j.o.Services.Rekor[0], Signed: true}
	if a.Publisher, err = j.verified(text, statement); err != nil {
		return nil, err
	}
	return a, j.sameIdentity(a.Publisher)
}

// verified verifies a bundle over a statement as a consumer will who has the same trusted root, and returns who signed.
func (j *Job) verified(text, statement []byte) (*publisher.Publisher, error) {
	b, err := sigstore.ParseBundle(text)
	if err != nil {
		return nil, refuse("own-bundle", "", "a consumer would refuse this attestation: %v", err)
	}
	v := j.o.Root.Verify(b, sigstore.Options{})
	for _, s := range []struct {
		name string
		step sigstore.Step
	}{{"bundle-format", v.Format}, {"certificate-chain", v.Chain}, {"certificate-transparency", v.CT}, {"signing-time", v.Time}, {"envelope-signature", v.Signature}, {"transparency-log", v.Log}} {
		if s.step.Status != sigstore.Held {
			return nil, refuse("own-bundle", "if the signature is from another Sigstore than the public one, name its --trusted-root",
				"a consumer would refuse this attestation: %s (%s) %s", s.name, s.step.Reason, s.step.Detail)
		}
	}
	cert, err := publisher.ReadCertificate(v.Leaf)
	if err != nil || !v.OK() || !bytes.Equal(b.Envelope.Payload, statement) {
		return nil, refuse("own-bundle", "", "a consumer would refuse this attestation: it does not hold what was signed")
	}
	return publisher.New(cert, v.SignedAt, v.LogIndex), nil
}
