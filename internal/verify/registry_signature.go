package verify

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"assay/internal/npm"
)

// checkRegistrySignature holds when a trusted key of the registry signed name@version:integrity, and was
// valid when the version was published. At least one signature by a known key must verify and none by a
// known key may fail; one by an unknown key beside them is told.
//
// Source: npm/documentation, about-registry-signatures: ECDSA P-256 with SHA-256 over that text, the
// signature in base64 of ASN.1 DER.
func checkRegistrySignature(f *facts) outcome {
	if f.docProblem != "" {
		if f.in.Options.BundleGiven {
			return skip(reasonBundleGiven)
		}
		return f.withoutDocument()
	}
	t, _ := f.publishTime()
	return f.verifySignatures(f.doc, t)
}

// registrySignature is one element of dist.signatures.
type registrySignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// verifySignatures checks the signatures of a version document published at t; zero if nobody knows.
func (f *facts) verifySignatures(doc document, t time.Time) outcome {
	var signatures few[registrySignature]
	if announces(doc.Dist.Signatures) {
		err := json.Unmarshal(doc.Dist.Signatures, &signatures, json.MatchCaseInsensitiveNames(false))
		if err != nil && !errors.Is(err, errTooMany) {
			return fail(reasonSignatureFormat, "", "").with(err.Error())
		}
		if err != nil || len(signatures) > maxSignatures {
			return fail(reasonSignatureFormat, "", "").with("more signatures than any registry gives")
		}
	}
	if len(signatures) == 0 {
		return f.signatureAbsent()
	}
	// The text that was signed names what was asked for, not what the document says its name is.
	texts := []string{f.in.Package.ID.String() + ":" + doc.Dist.Integrity}
	if in, err := npm.ParseIntegrity(doc.Dist.Integrity); err == nil && in.String() != doc.Dist.Integrity {
		texts = append(texts, f.in.Package.ID.String()+":"+in.String())
	}
	held, timeUnknown := false, false
	unknown := ""
	for _, s := range signatures {
		key, expired := f.signatureKey(s.KeyID, t)
		if key == nil {
			if unknown == "" {
				unknown = s.KeyID
			}
			continue
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil {
			return fail(reasonSignatureFormat, "base64 of ASN.1 DER", s.Sig)
		}
		if !verifiesAny(key.Public, texts, sig) {
			return fail(reasonSignatureInvalid, texts[0], "a signature by "+key.ID+" over something else")
		}
		if !t.IsZero() && !key.Start.IsZero() && t.Before(key.Start) {
			return fail(reasonKeyNotYetValid, "published at or after "+utc(key.Start), utc(t))
		}
		if expired {
			if !t.IsZero() {
				return fail(reasonKeyExpired, "published before "+utc(key.End), utc(t))
			}
			timeUnknown = true
		}
		held = true
	}
	switch {
	case !held:
		return f.unknownKey(unknown)
	case timeUnknown:
		return outcome{status: Pass, reason: reasonTimeUnknown}
	case unknown != "":
		return passWith(reasonUnknownKeyBeside, "", unknown)
	}
	return pass()
}

// signatureKey finds the key for a signature, and reports whether it has, or may have, expired at t: with t
// unknown, a key with an end may have been used after it. Of several entries for one key the one that was
// valid at t is taken. End is exclusive, as npm has it.
func (f *facts) signatureKey(id string, t time.Time) (key *RegistryKey, expired bool) {
	for i := range f.in.Trust.Keys {
		k := &f.in.Trust.Keys[i]
		if k.ID != id || !forSignatures(k) {
			continue
		}
		over := !k.End.IsZero() && (t.IsZero() || !t.Before(k.End))
		if key == nil || expired && !over {
			key, expired = k, over
		}
	}
	return key, expired
}

func verifiesAny(key *ecdsa.PublicKey, texts []string, sig []byte) bool {
	for _, text := range texts {
		digest := sha256.Sum256([]byte(text))
		if ecdsa.VerifyASN1(key, digest[:], sig) {
			return true
		}
	}
	return false
}

// signatureAbsent says what it means that the version document holds no signature.
func (f *facts) signatureAbsent() outcome {
	switch {
	case f.in.Options.Keyless:
		return skip(reasonKeyless)
	case f.in.Options.Signs == SignsPartly:
		return skip(reasonSignsPartly)
	case f.registrySigns():
		return fail(reasonSignatureMissing, "a signature by a key of "+f.in.Package.Registry, "none")
	}
	switch f.in.Trust.KeyState {
	case KeysNone:
		if f.signatureKnown() {
			return fail(reasonSignatureMissing, "the signature that is known of, or that goes with attestations", "none")
		}
		return skip(string(KeysNone))
	case KeysUntrusted:
		return undecided(string(KeysUntrusted), "")
	}
	return undecided(string(KeysUnavailable), f.in.Trust.KeyDetail)
}

// unknownKey says what it means that none of the keys named is known: a registry whose keys could not be
// had, or may not be believed, leaves the question open; else the signature does not verify.
func (f *facts) unknownKey(id string) outcome {
	switch f.in.Trust.KeyState {
	case KeysUntrusted:
		return undecided(string(KeysUntrusted), "")
	case KeysUnavailable, KeysNotAsked:
		return undecided(string(KeysUnavailable), f.in.Trust.KeyDetail)
	}
	return fail(reasonKeyUnknown, "a known key of "+f.in.Package.Registry, id)
}
