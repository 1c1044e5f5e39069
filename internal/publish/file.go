package publish

import (
	"context"
	"encoding/hex"

	"assay/internal/verify"
)

// FileStatement is the provenance of a file that is no package: the same statement as of a tarball, with the file's
// name in place of a package's.
func (c *CI) FileStatement(name string, sha512 []byte) ([]byte, error) {
	subject := []any{object{{"name", name}, {"digest", object{{"sha512", hex.EncodeToString(sha512)}}}}}
	if c.Provider == GitLab {
		return c.gitlabStatement(subject)
	}
	return c.githubStatement(subject)
}

// AttestFile signs provenance for a file in this job and verifies it as a consumer will. What it makes stands in a
// public log from then on, also if it returns an error.
func (j *Job) AttestFile(ctx context.Context, name string, sha512 []byte) (*Attestation, error) {
	statement, err := j.o.CI.FileStatement(name, sha512)
	if err != nil {
		return nil, err
	}
	a, err := j.signed(ctx, statement)
	if err != nil {
		return nil, err
	}
	out := verify.File(a.Bundle, sha512, verify.Trust{Root: j.o.Root, RootDigest: j.o.RootDigest, KeyState: verify.KeysNotAsked}, j.o.Issuers)
	if out.Publisher == nil {
		return nil, refuse("own-bundle", "if the signature is from another Sigstore than the public one, name its --trusted-root",
			"a consumer would refuse this attestation: %s", row(out.Checks[0]))
	}
	a.Publisher = out.Publisher
	return a, j.sameIdentity(out.Publisher)
}
