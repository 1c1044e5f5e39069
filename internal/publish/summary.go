package publish

import (
	"bytes"
	"context"
	"sync"
	"time"

	"assay/internal/publisher"
	"assay/internal/sigstore"
)

// certificateMargin is how long before its end a certificate is not used any more: the log's clock is not this one's.
const certificateMargin = time.Minute

// maxAtOnce bounds the statements that are being signed at one time: a log of version 2 answers only when it has
// written a checkpoint, which takes seconds, and public services are to be treated gently.
const maxAtOnce = 8

// SignStatements signs in-toto statements of the caller's own with this job's identity: one certificate for all, as
// long as it is good, and one entry in each log for every statement. about is told the identity in the certificate, the
// URI of the workflow, so that statements can name who signs them, and returns the statements, in JSON. The result has
// one attestation for each, in the same order; each was verified with the trusted root, and its publisher is this job.
//
// That the runner is the maintainer's own is no obstacle here, since no registry takes these statements; that the
// repository is private is, as for [Job.Attest]. What was signed before an error stands in the public log.
func (j *Job) SignStatements(ctx context.Context, about func(identity string) ([][]byte, error)) ([]*Attestation, error) {
	now, identity, err := j.identified(ctx)
	if err != nil {
		return nil, err
	}
	statements, err := about(identity)
	if err != nil || len(statements) == 0 {
		return nil, err
	}
	j.say("entering into the transparency log %s (%d in all): repository, workflow and commit are public from now on", publicURL(j.o.Services.Rekor[0]), len(statements))
	var mu sync.Mutex // guards now
	current := func(ctx context.Context) (*signer, error) {
		mu.Lock()
		defer mu.Unlock()
		if j.o.Now().Before(now.leaf.NotAfter.Add(-certificateMargin)) {
			return now, nil
		}
		next, another, err := j.identified(ctx)
		if err != nil {
			return nil, err
		}
		if another != identity {
			return nil, refuse("certificate-identity", "", "the next certificate is for %q, and the first was for %q", another, identity)
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
				s, err := current(ctx)
				if err == nil {
					out[i], err = j.enter(ctx, s, statements[i], func(string, ...any) {})
				}
				if err == nil {
					out[i].Publisher, err = j.verified(out[i])
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

// identified gets a certificate of this job's identity, and the identity: the URI of the workflow that it names.
func (j *Job) identified(ctx context.Context) (*signer, string, error) {
	token, err := j.c.sigstoreToken(ctx, j.o.CI, "", j.o.Now())
	if err != nil {
		return nil, "", err
	}
	if err := token.acceptable(j.o.CI.Provider, j.o.AllowPrivate, true); err != nil {
		return nil, "", err
	}
	s, err := j.signer(ctx, token)
	if err != nil {
		return nil, "", err
	}
	cert, err := publisher.ReadCertificate(s.leaf)
	if err != nil {
		return nil, "", refuse("certificate-identity", "", "the certificate does not say for which workflow it is: %v", err)
	}
	return s, cert.SubjectURI, nil
}

// verified verifies a bundle over a statement as a consumer will who has the same trusted root, and returns who
// signed, which has to be this job.
func (j *Job) verified(a *Attestation) (*publisher.Publisher, error) {
	b, err := sigstore.ParseBundle(a.Bundle)
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
	if err != nil || !v.OK() || !bytes.Equal(b.Envelope.Payload, a.Statement) {
		return nil, refuse("own-bundle", "", "a consumer would refuse this attestation: it does not hold what was signed")
	}
	p := publisher.New(cert, v.SignedAt, v.LogIndex)
	return p, j.sameIdentity(p)
}
