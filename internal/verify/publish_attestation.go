package verify

import (
	"slices"
	"strconv"
	"strings"
)

// publishPaths are the members of a publish predicate.
var publishPaths = paths("{name,version,registry}")

// checkPublishAttestation holds when there is exactly one publish attestation, it verifies with a key of
// the registry that is meant for attestations, and it names this package, version and registry. It is the
// registry's word that it accepted these bytes: a provenance alone may be of a publish that was refused.
// Source: npm/attestation, specs/publish/v0.1.
func checkPublishAttestation(f *facts) outcome {
	if len(f.attestations) == 0 {
		return skip(f.noAttestations())
	}
	publishes := f.of(kindPublish)
	switch n := len(publishes); {
	case n == 0 && f.in.Options.Keyless:
		return skip(reasonKeyless)
	case n == 0 && f.in.Options.BundleGiven && !f.enveloped():
		return skip(reasonBundleGiven)
	case n == 0:
		for _, a := range f.attestations {
			if a.statement == nil {
				return skip(reasonStatementUnreadable) // it may be the unreadable one, which bundle-format names
			}
		}
		return fail(reasonPublishAbsent, "1", "0")
	case n > 1:
		return fail(reasonDuplicate, "1", strconv.Itoa(n))
	}
	a := publishes[0]
	if !a.byKey() {
		return fail(reasonSignedByCertificate, "a key of the registry", "a certificate")
	}
	if a.key == nil {
		switch f.in.Trust.KeyState {
		case KeysUntrusted, KeysUnavailable:
			return undecided(string(f.in.Trust.KeyState), f.in.Trust.KeyDetail)
		}
		return fail(reasonKeyUnknown, "a known key of "+f.in.Package.Registry, a.bundle.KeyHint)
	}
	if !forAttestations(a.key) {
		return fail(reasonKeyUsage, "npm:attestations", a.key.Usage)
	}
	if f.in.Trust.Root == nil {
		return undecided(reasonNoTrustRoot, "")
	}
	if !a.verified() {
		return fail(reasonNotVerified, "a publish attestation that verifies", "one that does not")
	}
	p, o := texts(a.statement.Predicate, publishPaths)
	if o.status != Pass {
		return o
	}
	if id := f.in.Package.ID; p["name"] != id.Name || p["version"] != id.Version {
		return fail(reasonPublishOther, id.String(), p["name"]+"@"+p["version"])
	}
	registry := strings.TrimRight(p["registry"], "/")
	if !slices.Contains(a.key.Registries, registry) {
		return fail(reasonPublishRegistry, strings.Join(a.key.Registries, " or "), p["registry"])
	}
	return f.compareSubject(a, false)
}
