package verify

import "assay/internal/sigstore"

// step turns one step of Sigstore verification into the outcome of a check.
func step(s sigstore.Step) outcome {
	o := outcome{reason: s.Reason, expected: s.Expected, actual: s.Actual, detail: s.Detail}
	switch s.Status {
	case sigstore.Held:
		o.status = Pass
	case sigstore.Failed:
		o.status = Fail
	case sigstore.NotApplicable:
		o.status = Skip
	default:
		o.status = Error
		if o.reason == "" {
			o.reason = reasonNotDone
		}
	}
	return o
}

// step asks one step of an attestation whose bundle could be read; one that could not is the business of
// bundle-format. Where the registry's keys could not be had or may not be believed, nothing that needs the
// key contradicts anything.
func (f *facts) step(a *attestation, pick func(*sigstore.Verification) sigstore.Step) outcome {
	if a.bundle == nil {
		return skip(reasonBundleUnreadable)
	}
	if f.in.Trust.Root == nil {
		return undecided(reasonNoTrustRoot, "")
	}
	o := step(pick(a.verified_))
	if o.status == Fail && a.byKey() && a.key == nil {
		switch f.in.Trust.KeyState {
		case KeysUntrusted:
			return undecided(string(KeysUntrusted), "")
		case KeysUnavailable:
			return undecided(string(KeysUnavailable), f.in.Trust.KeyDetail)
		}
	}
	return o
}

// checkBundleFormat holds when every bundle is of a known media type with what that type must have, holds
// one DSSE envelope with one signature, and its payload is an in-toto statement. A newer media type is an
// error: it cannot be judged by rules that do not know it.
func checkBundleFormat(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		if a.format != nil {
			if a.format.Unsupported {
				return undecided(a.format.Reason, a.format.Detail)
			}
			return fail(a.format.Reason, "", "").with(a.format.Detail)
		}
		if f.in.Trust.Root == nil {
			return undecided(reasonNoTrustRoot, "")
		}
		if o := step(a.verified_.Format); o.status != Pass {
			return o
		}
		if a.bundle.Envelope == nil {
			return fail(reasonNotDSSE, "a DSSE envelope", "a signature over a file")
		}
		if a.bundle.Envelope.PayloadType != payloadType {
			return fail(reasonPayloadType, payloadType, a.bundle.Envelope.PayloadType)
		}
		if a.stmtErr != nil {
			fe := formatError(a.stmtErr)
			if fe.Unsupported {
				return undecided(fe.Reason, fe.Detail)
			}
			return fail(fe.Reason, "", "").with(fe.Detail)
		}
		return pass()
	})
}

// checkCertificateChain holds when the leaf of every certificate-signed bundle chains to a Fulcio root of
// the trusted root, with the code-signing usage and every certificate valid when it signed. A publish
// attestation has no certificate; provenance without one does not come from a CI job.
func checkCertificateChain(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		if a.byKey() {
			if a.kind == kindProvenance {
				return fail(reasonCertificateAbsent, "a certificate issued to a CI job", "a key")
			}
			return skip(reasonSignedByKey)
		}
		return f.step(a, func(v *sigstore.Verification) sigstore.Step { return v.Chain })
	})
}

// checkCertificateTransparency holds when a known certificate transparency log vouches for every leaf.
func checkCertificateTransparency(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		if a.byKey() {
			return skip(reasonSignedByKey)
		}
		return f.step(a, func(v *sigstore.Verification) sigstore.Step { return v.CT })
	})
}

// checkSigningTime holds when a trusted clock, the log's signed entry timestamp or a timestamp authority,
// puts every signature within the validity of its certificate or key, ends inclusive.
func checkSigningTime(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		return f.step(a, func(v *sigstore.Verification) sigstore.Step { return v.Time })
	})
}

// checkEnvelopeSignature holds when every envelope is signed by its certificate's key, and a publish
// attestation by the registry's.
func checkEnvelopeSignature(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		o := f.step(a, func(v *sigstore.Verification) sigstore.Step { return v.Signature })
		if o.status == Fail && a.byKey() && a.key == nil {
			return fail(reasonKeyUnknown, "a known key of "+f.in.Package.Registry, a.bundle.KeyHint)
		}
		return o
	})
}

// checkTransparencyLog holds when every bundle's log entry binds this certificate, payload and signature,
// and a known log included it: whatever of signed entry timestamp, inclusion proof and checkpoint is
// present verifies.
func checkTransparencyLog(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		return f.step(a, func(v *sigstore.Verification) sigstore.Step { return v.Log })
	})
}
