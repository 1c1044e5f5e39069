package verify

import (
	"fmt"

	"assay/internal/evidence"
)

// checkEvidenceComplete holds when the registry serves what is announced: by the version document, by
// assay.lock or by earlier evidence. Not getting it is an error, since registries do fail; being told that
// there is none, when there was, is a fail.
func checkEvidenceComplete(f *facts) outcome {
	if f.in.Options.BundleGiven {
		if f.list.reason != "" {
			return fail(f.list.reason, "", "").with(f.list.detail)
		}
		if len(f.attestations) < 2 && !f.enveloped() {
			return skip(reasonBundleGiven)
		}
		if o := f.checkList(); o.status != Pass {
			return o
		}
		return passWith(reasonListGiven, "both sides", "both sides")
	}
	if f.docProblem != "" {
		if f.docProblem == reasonDocumentFormat {
			return fail(reasonDocumentFormat, "", "").with(f.docDetail)
		}
		return undecided(f.docProblem, f.docDetail)
	}
	if f.in.Options.Unauthenticated {
		return undecided(reasonUnauthenticated, "")
	}
	if id := f.in.Package.ID; f.doc.Name != id.Name || f.doc.Version != id.Version {
		return fail(reasonOtherVersion, id.String(), f.doc.Name+"@"+f.doc.Version)
	}
	a := f.in.Evidence.Attestations
	switch a.State {
	case evidence.Served:
		if f.list.reason != "" {
			return fail(f.list.reason, "", "").with(f.list.detail)
		}
		if o := f.checkList(); o.status != Pass || f.announced {
			return o
		}
		return passWith(reasonNotAnnounced, "announced by the version document", "served all the same")
	case evidence.Unavailable:
		reason := a.Reason
		if reason == "" {
			reason = reasonNotCollected
		}
		return undecided(reason, a.Detail)
	case evidence.Absent:
		if f.announced {
			return undecided(reasonAnnouncedAbsent, fmt.Sprintf("the registry answered %d", a.Status))
		}
	case evidence.NotAsked:
		if f.announced {
			return undecided(reasonNotCollected, "")
		}
	}
	if f.in.Options.AttestationExpected {
		return fail(reasonAttestationStripped, "the attestations that assay.lock knows of", "none")
	}
	if len(f.in.Evidence.Earlier) > 0 {
		if f.readEarlier(); f.earlierAttested {
			return fail(reasonAttestationStripped, "the attestations that this registry served before", "none")
		}
	}
	return skip(reasonNoAttestations)
}

// enveloped reports whether the attestations given by the user are a registry's list, which has two sides,
// rather than one bare bundle.
func (f *facts) enveloped() bool {
	for _, a := range f.attestations {
		if a.outer {
			return true
		}
	}
	return false
}

// checkList demands both sides, the publisher's and the registry's, and that they are about this package.
func (f *facts) checkList() outcome {
	unreadable := false
	others := ""
	for _, a := range f.attestations {
		if a.statement == nil {
			unreadable = true // another check's failure; the missing side may be this one
			continue
		}
		if f.namesPackage(a) || len(a.statement.Subject) == 0 {
			others = ""
			unreadable = true
			break
		}
		others = a.statement.Subject[0].Name
	}
	if !unreadable && others != "" {
		return fail(reasonOtherVersion, f.in.Package.ID.PURL(), others)
	}
	anyUnreadable := false
	for _, a := range f.attestations {
		anyUnreadable = anyUnreadable || a.statement == nil
	}
	if len(f.of(kindProvenance)) == 0 && !anyUnreadable {
		return fail(reasonProvenanceAbsent, "a provenance attestation", "none in the list")
	}
	if len(f.of(kindPublish)) == 0 && !anyUnreadable && !f.keyless() {
		return fail(reasonPublishAbsent, "the registry's publish attestation", "none in the list")
	}
	if anyUnreadable && (len(f.of(kindProvenance)) == 0 || len(f.of(kindPublish)) == 0) {
		return skip(reasonListUnusable)
	}
	return pass()
}

// withoutDocument is the answer of a check that needs the version document and has none. That it is missing
// is told once, by evidence-complete.
func (f *facts) withoutDocument() outcome {
	if f.docProblem == reasonNotCollected && f.in.Options.BundleGiven {
		return skip(reasonBundleGiven)
	}
	return skip(reasonNotCollected)
}
