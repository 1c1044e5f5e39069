package verify

import (
	"encoding/hex"
	"strconv"
)

// checkSubject holds when every statement is about exactly this tarball: one subject, named by the
// package's purl, whose sha512 (hex) is the registry's integrity, and the tarball's digest where that is
// known. Two subjects fail even if one of them matches: one attestation could otherwise vouch for two
// packages. Source: in-toto/attestation, spec/v1/statement.md, field subject.
func checkSubject(f *facts) outcome {
	return f.each(func(a *attestation) outcome { return f.compareSubject(a, true) })
}

// compareSubject compares the statement's subject with the package, and with the tarball at hand if that is
// asked for or nothing else is known.
func (f *facts) compareSubject(a *attestation, tarball bool) outcome {
	if a.statement == nil {
		return skip(reasonStatementUnreadable)
	}
	if n := len(a.statement.Subject); n != 1 {
		return fail(reasonSubjectCount, "1", strconv.Itoa(n))
	}
	s := a.statement.Subject[0]
	if want := f.in.Package.ID.PURL(); s.Name != want {
		return fail(reasonSubjectName, want, s.Name)
	}
	got, err := hex.DecodeString(s.Digest["sha512"])
	if err != nil || len(got) != 64 {
		return fail(reasonSubjectDigestAbsent, "128 hex digits of sha512", s.Digest["sha512"])
	}
	compared := false
	if f.docProblem == "" {
		want, reason := f.sha512()
		if want == nil {
			return undecided(reason, "the registry names no single sha512")
		}
		if !sameBytes(want, got) {
			return fail(reasonSubjectDigest, hexOf(want), hexOf(got))
		}
		compared = true
	}
	if t := f.in.Evidence.Tarball; t != nil && t.SHA512 != nil && (tarball || !compared) {
		if !sameBytes(t.SHA512, got) {
			return fail(reasonSubjectDigest, hexOf(t.SHA512), hexOf(got)).with("tarball")
		}
		compared = true
	}
	if !compared {
		return undecided(reasonDigestUnknown, "neither the registry's integrity nor the tarball is at hand")
	}
	return pass()
}
