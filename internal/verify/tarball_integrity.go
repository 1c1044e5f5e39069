package verify

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"

	"assay/internal/evidence"
)

// checkTarballIntegrity holds when the tarball's bytes hash to the registry's integrity, in the strongest
// algorithm that the registry names. A SHA-1 that fits says little, one that does not fit says enough.
func checkTarballIntegrity(f *facts) outcome {
	t := f.in.Evidence.Tarball
	if t == nil {
		return skip(reasonNotAsked)
	}
	if t.Reason != "" {
		return undecided(t.Reason, t.Detail)
	}
	if f.docProblem != "" {
		if f.in.Options.BundleGiven {
			return skip(reasonBundleGiven)
		}
		return f.withoutDocument()
	}
	if f.integrityProblem != nil {
		return fail(reasonRegistryIntegrityFormat, "", f.doc.Dist.Integrity)
	}
	strongest, ok := f.registryIntegrity.Strongest()
	if !ok {
		if sha := f.shasum(); sha != nil && len(t.SHA1) == sha1.Size {
			if !sameBytes(t.SHA1, sha) {
				return fail(reasonTarballMismatch, hexOf(sha), hexOf(t.SHA1))
			}
			return skip(reasonIntegrityWeak)
		}
		return undecided(reasonIntegrityAbsent, "")
	}
	got := digestOf(t, strongest.Algorithm)
	if got == nil {
		return undecided(reasonDigestUnknown, strongest.Algorithm)
	}
	// Where the registry names several hashes of one algorithm the bytes must be the one that it signed.
	for _, h := range f.registryIntegrity.Find(strongest.Algorithm) {
		if !sameBytes(h.Digest, got) {
			return fail(reasonTarballMismatch, hexOf(h.Digest), hexOf(got))
		}
	}
	if strongest.Algorithm == "sha1" {
		return skip(reasonIntegrityWeak)
	}
	return pass()
}

// digestOf returns the tarball's digest in one algorithm, nil if it is not known.
func digestOf(t *evidence.Tarball, algorithm string) []byte {
	var d []byte
	size := 0
	switch algorithm {
	case "sha512":
		d, size = t.SHA512, sha512.Size
	case "sha384":
		d, size = t.SHA384, sha512.Size384
	case "sha256":
		d, size = t.SHA256, sha256.Size
	case "sha1":
		d, size = t.SHA1, sha1.Size
	}
	if len(d) != size {
		return nil
	}
	return d
}

func base64OfHex(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(b)
}
