package lab

import (
	"crypto/ed25519"
	"crypto/x509"
	"time"
)

// TrustedRoot is the lab's trusted_root.json (protobuf-specs sigstore_trustroot.proto): what a verifier must be
// given to trust this lab.
func (l *Lab) TrustedRoot() []byte {
	start := map[string]any{"start": l.start.Format(time.RFC3339)}
	log := func(url string, key []byte, details string, id [32]byte) map[string]any {
		return map[string]any{"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": id[:]},
			"publicKey": map[string]any{"rawBytes": key, "keyDetails": details, "validFor": start}}
	}
	authority := func(uri string, chain ...*x509.Certificate) map[string]any {
		certs := []RawCertificate{}
		for _, c := range chain {
			certs = append(certs, RawCertificate{c.Raw})
		}
		root := chain[len(chain)-1].Subject
		return map[string]any{"uri": uri, "validFor": start, "certChain": map[string]any{"certificates": certs},
			"subject": map[string]any{"organization": root.Organization[0], "commonName": root.CommonName}}
	}
	return marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs": []any{
			log("https://"+l.Rekor.host, spki(l.Rekor.key.Public()), "PKIX_ECDSA_P256_SHA_256", l.Rekor.ID()),
			log("https://"+l.RekorV2.host, spki(l.RekorV2.key.Public().(ed25519.PublicKey)), "PKIX_ED25519", l.RekorV2.ID()),
		},
		"certificateAuthorities": []any{authority("https://fulcio.lab.assay.test", l.CA.Intermediate, l.CA.Root)},
		"ctlogs":                 []any{log(l.CT.url, spki(l.CT.key.Public()), "PKIX_ECDSA_P256_SHA_256", l.CT.ID())},
		"timestampAuthorities":   []any{authority("https://timestamp.lab.assay.test/api/v1/timestamp", l.TSA.Leaf, l.TSA.Root)},
	})
}
