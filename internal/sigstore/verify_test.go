package sigstore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// at walks into a tree by names and indices.
func at(tree any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			tree = tree.(map[string]any)[p]
		case int:
			tree = tree.([]any)[p]
		}
	}
	return tree
}

func logEntry(bundle map[string]any) map[string]any {
	return at(bundle, "verificationMaterial", "tlogEntries", 0).(map[string]any)
}

func envelopeSignature(bundle map[string]any) map[string]any {
	return at(bundle, "dsseEnvelope", "signatures", 0).(map[string]any)
}

// flip changes the last byte of base64.
func flip(s any) string {
	b, _ := base64.StdEncoding.DecodeString(s.(string))
	b[len(b)-1] ^= 1
	return std(b)
}

// TestVerifySteps makes a bundle that holds and changes one thing about it. Where want is empty it still holds; else the
// named steps fail, for the reason that stands beside each, and all others hold. sigstore-go is asked too.
func TestVerifySteps(t *testing.T) {
	l := newLab(t)
	during, after := l.now.Add(time.Minute), l.now.Add(time.Hour)
	other := l.newKey()
	namesake := l.issue(l.caTemplate("intermediate"), l.caTemplate("root"), other.Public(), other)
	tsaOf := func(change func(*x509.Certificate)) *x509.Certificate {
		template := l.tsaTemplate()
		change(template)
		return l.issue(template, l.tsaRoot, l.tsaKey.Public(), l.tsaRootKey)
	}
	wideTSA := tsaOf(func(c *x509.Certificate) {
		c.ExtKeyUsage, c.ExtraExtensions = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageCodeSigning}, nil
	})
	laxTSA := tsaOf(func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = false })
	oldTSA := tsaOf(func(c *x509.Certificate) { c.NotAfter = l.now })
	tsaRoot := func(c *x509.Certificate) func(map[string]any) {
		return func(r map[string]any) {
			at(r, "timestampAuthorities", 0, "certChain", "certificates", 0).(map[string]any)["rawBytes"] = std(c.Raw)
		}
	}
	// constrained makes a bundle under another root and intermediate.
	constrained := func(change func(root, inter *x509.Certificate)) labBundle {
		rootTemplate, interTemplate := l.caTemplate("root 2"), l.caTemplate("intermediate 2")
		change(rootTemplate, interTemplate)
		root := l.issue(rootTemplate, rootTemplate, l.rootKey.Public(), l.rootKey)
		inter := l.issue(interTemplate, root, l.interKey.Public(), l.rootKey)
		return labBundle{issuer: inter, issuerKey: l.interKey, root: func(r map[string]any) {
			at(r, "certificateAuthorities", 0, "certChain").(map[string]any)["certificates"] =
				[]any{map[string]any{"rawBytes": std(inter.Raw)}, map[string]any{"rawBytes": std(root.Raw)}}
		}}
	}
	long := func(c *x509.Certificate) { c.NotAfter = l.now.AddDate(0, 6, 0) }
	v2 := func(o labBundle) labBundle {
		o.rekor2 = true
		if o.tsTime.IsZero() {
			o.tsTime = during
		}
		return o
	}
	type steps = map[string]string
	tests := []struct {
		name string
		labBundle
		options func(*Options)
		want    steps
	}{
		{name: "envelope, Rekor v1"},
		{name: "envelope, Rekor v2", labBundle: v2(labBundle{})},
		{name: "message, Rekor v1", labBundle: labBundle{message: true}},
		{name: "message, Rekor v2", labBundle: v2(labBundle{message: true})},
		{name: "key", labBundle: labBundle{key: true}},
		{name: "key, Rekor v2", labBundle: v2(labBundle{key: true})},
		{name: "two clocks", labBundle: labBundle{tsTime: during}},
		{name: "first second", labBundle: labBundle{logTime: l.now}},
		{name: "last second", labBundle: labBundle{logTime: l.now.Add(10 * time.Minute)}},
		{name: "old spelling of v0.3", labBundle: labBundle{mediaType: mediaTypeV03Old}},
		{name: "v0.2", labBundle: labBundle{mediaType: mediaTypeV02}},
		{name: "v0.1", labBundle: labBundle{mediaType: mediaTypeV01}},
		{name: "v0.1 without proof", labBundle: labBundle{mediaType: mediaTypeV01, tree: func(b map[string]any) { delete(logEntry(b), "inclusionProof") }}},
		{name: "keyid", labBundle: labBundle{tree: func(b map[string]any) { envelopeSignature(b)["keyid"] = "" }}},
		{name: "self-signed root as issuer", labBundle: labBundle{issuer: l.rootCert, issuerKey: l.rootKey}},

		// Format.
		{name: "payload type", labBundle: labBundle{tree: func(b map[string]any) { at(b, "dsseEnvelope").(map[string]any)["payloadType"] = "text/plain" }},
			want: steps{"Format": "payload-type", "Signature": "signature-invalid"}},
		{name: "chain in v0.3", labBundle: labBundle{tree: func(b map[string]any) {
			vm := at(b, "verificationMaterial").(map[string]any)
			vm["x509CertificateChain"] = map[string]any{"certificates": []any{vm["certificate"]}}
			delete(vm, "certificate")
		}}, want: steps{"Format": "chain-in-v0.3"}},
		{name: "URL-safe base64", labBundle: labBundle{tree: func(b map[string]any) {
			e := at(b, "dsseEnvelope").(map[string]any)
			e["payload"] = strings.TrimRight(e["payload"].(string), "=") + "\n"
		}}, want: steps{"Format": "base64-malformed"}},
		{name: "no certificate", labBundle: labBundle{tree: func(b map[string]any) { delete(at(b, "verificationMaterial").(map[string]any), "certificate") }},
			want: steps{"Format": "certificate-missing", "Chain": "certificate-missing", "CT": "certificate-missing", "Time": "certificate-missing",
				"Signature": "certificate-missing", "Log": "certificate-missing"}},

		// Chain.
		{name: "unknown issuer", labBundle: labBundle{issuer: l.tsaRoot, issuerKey: l.tsaRootKey},
			want: steps{"Chain": "issuer-unknown", "CT": "sct-issuer-unknown"}},
		{name: "issuer of the same name", labBundle: labBundle{issuer: namesake, issuerKey: other},
			want: steps{"Chain": "certificate-signature", "CT": "sct-signature"}},
		{name: "not for code signing", labBundle: labBundle{leaf: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
			want: steps{"Chain": "leaf-unfit"}},
		{name: "no extended key usage", labBundle: labBundle{leaf: func(c *x509.Certificate) { c.ExtKeyUsage = nil }}, want: steps{"Chain": "leaf-unfit"}},
		{name: "not for signatures", labBundle: labBundle{leaf: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }}, want: steps{"Chain": "leaf-unfit"}},
		{name: "CA as leaf", labBundle: labBundle{issuer: l.rootCert, issuerKey: l.rootKey, leaf: func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}}, want: steps{"Chain": "leaf-unfit"}},
		{name: "no identity", labBundle: labBundle{leaf: func(c *x509.Certificate) { c.URIs = nil }}, want: steps{"Chain": "leaf-unfit"}},
		{name: "unknown critical extension", labBundle: labBundle{leaf: func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
		}}, want: steps{"Chain": "leaf-unfit"}},
		{name: "Fulcio extension that is no string", labBundle: labBundle{leaf: func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{5, 0} }},
			want: steps{"Chain": "leaf-unfit"}},
		{name: "CA certificate expired", labBundle: labBundle{leaf: func(c *x509.Certificate) { c.NotAfter = l.now.AddDate(3, 0, 0) }, logTime: l.now.AddDate(2, 0, 0)},
			want: steps{"Chain": "ca-certificate-not-valid"}},
		{name: "CA no longer counts", labBundle: labBundle{leaf: long, logTime: l.now.AddDate(0, 2, 0), root: func(r map[string]any) {
			at(r, "certificateAuthorities", 0, "validFor").(map[string]any)["end"] = l.now.AddDate(0, 1, 0).Format(time.RFC3339)
		}}, want: steps{"Chain": "ca-not-trusted-then"}},

		{name: "name constraint of the CA", labBundle: constrained(func(root, inter *x509.Certificate) {
			inter.PermittedDNSDomainsCritical, inter.ExcludedURIDomains = true, []string{"github.com"}
		}), want: steps{"Chain": "ca-constraint"}},
		{name: "name constraint that allows", labBundle: constrained(func(root, inter *x509.Certificate) {
			inter.PermittedDNSDomainsCritical, inter.PermittedURIDomains = true, []string{"github.com"}
		})},
		{name: "path too long", labBundle: constrained(func(root, inter *x509.Certificate) { root.MaxPathLenZero = true }),
			want: steps{"Chain": "issuer-unknown", "CT": "sct-issuer-unknown"}},
		{name: "CA for another usage", labBundle: constrained(func(root, inter *x509.Certificate) {
			root.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), want: steps{"Chain": "issuer-unknown", "CT": "sct-issuer-unknown"}},
		{name: "CA that may not sign certificates", labBundle: constrained(func(root, inter *x509.Certificate) { inter.KeyUsage = x509.KeyUsageCRLSign }),
			want: steps{"Chain": "issuer-unknown", "CT": "sct-issuer-unknown"}},
		{name: "CA with an unknown critical extension", labBundle: constrained(func(root, inter *x509.Certificate) {
			inter.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), want: steps{"Chain": "issuer-unknown", "CT": "sct-issuer-unknown"}},

		// CT.
		{name: "no SCT", labBundle: labBundle{noSCT: true}, want: steps{"CT": "sct-missing"}},
		{name: "SCT by another key", labBundle: labBundle{ctKey: other}, want: steps{"CT": "sct-signature"}},
		{name: "CT log not known", labBundle: labBundle{root: func(r map[string]any) { delete(r, "ctlogs") }}, want: steps{"CT": "sct-log-unknown"}},
		{name: "CT log no longer counts", labBundle: labBundle{sctTime: l.now.AddDate(0, -2, 0)}, want: steps{"CT": "sct-log-not-trusted-then"}},

		// Time.
		{name: "logged before", labBundle: labBundle{logTime: l.now.Add(-time.Second)}, want: steps{"Time": "outside-validity"}},
		{name: "logged after", labBundle: labBundle{logTime: after}, want: steps{"Time": "outside-validity"}},
		{name: "timestamp after", labBundle: labBundle{tsTime: after}, want: steps{"Time": "outside-validity"}},
		{name: "Rekor v2 without timestamp", labBundle: labBundle{rekor2: true}, want: steps{"Time": "no-trusted-time"}},
		{name: "time without SET", labBundle: labBundle{tree: func(b map[string]any) { delete(logEntry(b), "inclusionPromise") }}, want: steps{"Time": "no-trusted-time"}},
		{name: "timestamp by another key", labBundle: v2(labBundle{tsKey: other}), want: steps{"Time": "timestamp-signature"}},
		{name: "timestamp of another signature", labBundle: v2(labBundle{tree: func(b map[string]any) {
			at(b, "verificationMaterial", "timestampVerificationData", "rfc3161Timestamps", 0).(map[string]any)["signedTimestamp"] =
				std(l.timestamp(l.tsaCert, l.tsaKey, during, []byte("another")))
		}}), want: steps{"Time": "timestamp-imprint"}},
		{name: "timestamp certificate for more", labBundle: v2(labBundle{tsCert: wideTSA, root: tsaRoot(wideTSA)}), want: steps{"Time": "timestamp-certificate-unfit"}},
		{name: "timestamp certificate not critical", labBundle: v2(labBundle{tsCert: laxTSA, root: tsaRoot(laxTSA)}), want: steps{"Time": "timestamp-certificate-unfit"}},
		{name: "timestamp certificate expired", labBundle: v2(labBundle{tsCert: oldTSA, root: tsaRoot(oldTSA)}), want: steps{"Time": "timestamp-certificate-not-valid"}},
		{name: "timestamp authority's signer only in the timestamp", labBundle: v2(labBundle{root: func(r map[string]any) {
			chain := at(r, "timestampAuthorities", 0, "certChain").(map[string]any)
			chain["certificates"] = chain["certificates"].([]any)[1:]
		}})},
		{name: "timestamp authority not known", labBundle: v2(labBundle{root: func(r map[string]any) { delete(r, "timestampAuthorities") }}),
			want: steps{"Time": "timestamp-authority-unknown"}},
		{name: "unknown timestamp beside a SET", labBundle: labBundle{tsTime: during, root: func(r map[string]any) { delete(r, "timestampAuthorities") }}},
		{name: "timestamp authority no longer counts", labBundle: v2(labBundle{root: func(r map[string]any) {
			at(r, "timestampAuthorities", 0, "validFor").(map[string]any)["end"] = l.now.Format(time.RFC3339)
		}}), want: steps{"Time": "timestamp-authority-not-trusted-then"}},
		{name: "timestamp garbage", labBundle: labBundle{tsTime: during, tree: func(b map[string]any) {
			at(b, "verificationMaterial", "timestampVerificationData", "rfc3161Timestamps", 0).(map[string]any)["signedTimestamp"] = "AAAA"
		}}, want: steps{"Time": "timestamp-malformed"}},
		{name: "key expired", labBundle: labBundle{key: true}, options: func(o *Options) { o.Key.End = l.now }, want: steps{"Time": "outside-validity"}},
		{name: "key not yet valid", labBundle: labBundle{key: true}, options: func(o *Options) { o.Key.Start = after }, want: steps{"Time": "outside-validity"}},
		{name: "key just valid", labBundle: labBundle{key: true}, options: func(o *Options) { o.Key.Start, o.Key.End = during, during }},
		{name: "Rekor v2 key out of use", labBundle: v2(labBundle{root: func(r map[string]any) {
			at(r, "tlogs", 1, "publicKey", "validFor").(map[string]any)["end"] = l.now.Format(time.RFC3339)
		}}), want: steps{"Time": "log-not-trusted-then"}},

		// Signature.
		{name: "signature flipped", labBundle: labBundle{tree: func(b map[string]any) { s := envelopeSignature(b); s["sig"] = flip(s["sig"]) }},
			want: steps{"Signature": "signature-invalid", "Log": "log-signature-mismatch"}},
		{name: "other keyid", labBundle: labBundle{tree: func(b map[string]any) { envelopeSignature(b)["keyid"] = "SHA256:x" }}, want: steps{"Signature": "keyid-unknown"}},
		{name: "other hint", labBundle: labBundle{key: true, tree: func(b map[string]any) {
			at(b, "verificationMaterial", "publicKey").(map[string]any)["hint"] = "SHA256:x"
		}}, want: steps{"Signature": "key-hint"}},
		{name: "no key", labBundle: labBundle{key: true}, options: func(o *Options) { o.Key = nil },
			want: steps{"Signature": "key-missing", "Time": "key-missing", "Log": "key-missing"}},
		{name: "certificate where a key is expected", options: func(o *Options) { o.Key = &Key{Public: other.Public()} }, want: steps{"Signature": "key-expected"}},
		{name: "no artifact", labBundle: labBundle{message: true}, options: func(o *Options) { o.Artifact = nil }, want: steps{"Signature": "artifact-missing"}},
		{name: "other artifact", labBundle: labBundle{message: true}, options: func(o *Options) { o.Artifact = artifactDigests([]byte("other")) },
			want: steps{"Signature": "artifact-mismatch"}},
		{name: "other algorithm", labBundle: labBundle{message: true, tree: func(b map[string]any) {
			at(b, "messageSignature", "messageDigest").(map[string]any)["algorithm"] = "SHA2_512"
		}}, want: steps{"Signature": "message-digest-algorithm", "Log": "log-digest-mismatch"}},

		// Log.
		{name: "no entry", labBundle: labBundle{tsTime: during, tree: func(b map[string]any) { delete(at(b, "verificationMaterial").(map[string]any), "tlogEntries") }},
			want: steps{"Log": "log-entry-missing"}},
		{name: "entry twice", labBundle: labBundle{tree: func(b map[string]any) {
			vm := at(b, "verificationMaterial").(map[string]any)
			vm["tlogEntries"] = append(vm["tlogEntries"].([]any), vm["tlogEntries"].([]any)[0])
		}}, want: steps{"Log": "log-entry-duplicate"}},
		{name: "no proof", labBundle: labBundle{tree: func(b map[string]any) { delete(logEntry(b), "inclusionProof") }}, want: steps{"Log": "inclusion-proof-missing"}},
		{name: "no promise in v0.1", labBundle: labBundle{tsTime: during, mediaType: mediaTypeV01, tree: func(b map[string]any) { delete(logEntry(b), "inclusionPromise") }},
			want: steps{"Log": "inclusion-promise-missing"}},
		{name: "no checkpoint", labBundle: labBundle{tree: func(b map[string]any) { delete(at(logEntry(b), "inclusionProof").(map[string]any), "checkpoint") }},
			want: steps{"Log": "checkpoint-missing"}},
		{name: "SET flipped", labBundle: labBundle{tsTime: during, tree: func(b map[string]any) {
			p := at(logEntry(b), "inclusionPromise").(map[string]any)
			p["signedEntryTimestamp"] = flip(p["signedEntryTimestamp"])
		}}, want: steps{"Log": "set-invalid"}},
		{name: "log not known", labBundle: labBundle{tsTime: during, root: func(r map[string]any) { delete(r, "tlogs") }}, want: steps{"Log": "log-unknown"}},
		{name: "log no longer counts", labBundle: labBundle{tsTime: during, root: func(r map[string]any) {
			at(r, "tlogs", 0, "publicKey", "validFor").(map[string]any)["end"] = l.now.Format(time.RFC3339)
		}}, want: steps{"Log": "log-not-trusted-then"}},
		{name: "root hash", labBundle: labBundle{tree: func(b map[string]any) {
			p := at(logEntry(b), "inclusionProof").(map[string]any)
			p["rootHash"] = flip(p["rootHash"])
		}}, want: steps{"Log": "inclusion-proof-root"}},
		{name: "tree size", labBundle: labBundle{tree: func(b map[string]any) { at(logEntry(b), "inclusionProof").(map[string]any)["treeSize"] = "6" }},
			want: steps{"Log": "inclusion-proof-size"}},
		{name: "proof for another index", labBundle: labBundle{tree: func(b map[string]any) { at(logEntry(b), "inclusionProof").(map[string]any)["logIndex"] = "1" }},
			want: steps{"Log": "inclusion-proof-invalid"}},
		{name: "Rekor v2 indices differ", labBundle: v2(labBundle{tree: func(b map[string]any) { at(logEntry(b), "inclusionProof").(map[string]any)["logIndex"] = "1" }}),
			want: steps{"Log": "inclusion-proof-index"}},
		{name: "hash flipped", labBundle: labBundle{tree: func(b map[string]any) {
			h := at(logEntry(b), "inclusionProof", "hashes").([]any)
			h[1] = flip(h[1])
		}}, want: steps{"Log": "inclusion-proof-invalid"}},
		{name: "checkpoint by another name", labBundle: labBundle{tree: editCheckpoint("\u2014 rekor.example", "\u2014 other.example")}, want: steps{"Log": "checkpoint-signer"}},
		{name: "checkpoint of another tree", labBundle: labBundle{tree: editCheckpoint("- 123456", "- 123457")}, want: steps{"Log": "checkpoint-signature"}},
		{name: "checkpoint without tree", labBundle: labBundle{tree: editCheckpoint("rekor.example - 123456", "rekor.example")}, want: steps{"Log": "checkpoint-origin"}},
		{name: "checkpoint of another host", labBundle: v2(labBundle{tree: editCheckpoint(rekor2Host+"\n", "log3.example\n")}), want: steps{"Log": "checkpoint-origin"}},
		{name: "checkpoint without blank line", labBundle: labBundle{tree: editCheckpoint("\n\n", "\n")}, want: steps{"Log": "checkpoint-malformed"}},
		{name: "witness in Rekor v1", labBundle: labBundle{tree: addWitness}, want: steps{"Log": "checkpoint-signer"}},
		{name: "witness in Rekor v2", labBundle: v2(labBundle{tree: addWitness})},
		{name: "entry of another signature", labBundle: labBundle{body: func(b map[string]any) {
			s := at(b, "spec", "signatures", 0).(map[string]any)
			s["signature"] = flip(s["signature"])
		}}, want: steps{"Log": "log-signature-mismatch"}},
		{name: "entry of another certificate", labBundle: labBundle{body: func(b map[string]any) {
			s := at(b, "spec", "signatures", 0).(map[string]any)
			s["verifier"] = std(pemCertificate(l.interCert))
		}}, want: steps{"Log": "log-certificate-mismatch"}},
		{name: "entry of another key", labBundle: labBundle{key: true, body: func(b map[string]any) {
			s := at(b, "spec", "signatures", 0).(map[string]any)
			s["verifier"] = std(pemCertificate(l.interCert))
		}}, want: steps{"Log": "log-key-mismatch"}},
		{name: "entry of another payload", labBundle: labBundle{body: func(b map[string]any) {
			at(b, "spec", "payloadHash").(map[string]any)["value"] = strings.Repeat("00", 32)
		}}, want: steps{"Log": "log-digest-mismatch"}},
		{name: "entry of another hash", labBundle: labBundle{body: func(b map[string]any) {
			at(b, "spec", "payloadHash").(map[string]any)["algorithm"] = "sha512"
		}}, want: steps{"Log": "log-digest-mismatch"}},
		{name: "entry with two signatures", labBundle: labBundle{body: func(b map[string]any) {
			s := at(b, "spec").(map[string]any)
			s["signatures"] = append(s["signatures"].([]any), s["signatures"].([]any)[0])
		}}, want: steps{"Log": "log-body-signature-count"}},
		{name: "Rekor v2 entry of other details", labBundle: v2(labBundle{body: func(b map[string]any) {
			at(b, "spec", "hashedRekordV002", "signature", "verifier").(map[string]any)["keyDetails"] = "PKIX_ECDSA_P384_SHA_384"
		}}), want: steps{"Log": "log-key-details-mismatch"}},
		{name: "Rekor v2 entry with more", labBundle: v2(labBundle{body: func(b map[string]any) { b["more"] = 1 }}), want: steps{"Log": "log-body-form"}},
		{name: "kind stated otherwise", labBundle: labBundle{tree: func(b map[string]any) { at(logEntry(b), "kindVersion").(map[string]any)["version"] = "0.0.3" }},
			want: steps{"Log": "log-entry-kind-mismatch"}},
		{name: "kind not known", labBundle: labBundle{body: func(b map[string]any) { b["apiVersion"] = "0.0.3" }}, want: steps{"Log": "log-entry-kind-unknown"}},
		{name: "withdrawn kind", labBundle: labBundle{body: func(b map[string]any) { b["apiVersion"] = "0.0.2" }}, want: steps{"Log": "log-entry-withdrawn"}},
		{name: "kind for messages", labBundle: labBundle{body: func(b map[string]any) {
			s := at(b, "spec", "signatures", 0).(map[string]any)
			b["kind"], b["spec"] = "hashedrekord", map[string]any{
				"data":      map[string]any{"hash": at(b, "spec", "payloadHash")},
				"signature": map[string]any{"content": s["signature"], "publicKey": map[string]any{"content": s["verifier"]}},
			}
		}}, want: steps{"Log": "log-entry-kind-unfit"}},
		{name: "log key of unknown kind", labBundle: labBundle{tsTime: during, root: func(r map[string]any) {
			at(r, "tlogs", 0, "publicKey").(map[string]any)["keyDetails"] = "ML_DSA_65"
		}}, want: steps{"Log": "log-key-kind-unknown"}},
		{name: "CT log key of unknown kind", labBundle: labBundle{root: func(r map[string]any) {
			at(r, "ctlogs", 0, "publicKey").(map[string]any)["keyDetails"] = "ML_DSA_65"
		}}, want: steps{"CT": "log-key-kind-unknown"}},
	}
	stricter := stricterReasons()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, rootJSON, options := l.make(tt.labBundle)
			if tt.options != nil {
				tt.options(&options)
			}
			r, err := ParseTrustedRoot(rootJSON)
			if err != nil {
				t.Fatal(err)
			}
			b, err := ParseBundle(data)
			if err != nil {
				t.Fatal(err)
			}
			v := r.Verify(b, options)
			got := steps{}
			for name, step := range v.steps() {
				switch step.Status {
				case Failed, Undecided:
					got[name] = step.Reason
					if step.Status == Undecided != strings.HasSuffix(step.Reason, "kind-unknown") {
						t.Errorf("%s is %v for %s", name, step.Status, step.Reason)
					}
				case NotApplicable:
					if !tt.key || name != "Chain" && name != "CT" {
						t.Errorf("%s is not applicable", name)
					}
				case NotDone:
					t.Errorf("%s was not done", name)
				}
			}
			if !maps.Equal(got, tt.want) && (len(got) > 0 || len(tt.want) > 0) {
				t.Errorf("failing steps are %v, want %v", got, tt.want)
			}
			if v.OK() != (len(tt.want) == 0) {
				t.Errorf("OK is %v", v.OK())
			}
			o, err := root.NewTrustedRootFromJSON(rootJSON)
			if err != nil {
				return // a kind of key that it does not know
			}
			compare(t, tt.name, stricter, o, r, nil, data, options)
		})
	}
}

func editCheckpoint(old, new string) func(map[string]any) {
	return func(b map[string]any) {
		c := at(logEntry(b), "inclusionProof", "checkpoint").(map[string]any)
		c["envelope"] = strings.Replace(c["envelope"].(string), old, new, 1)
	}
}

func addWitness(b map[string]any) {
	c := at(logEntry(b), "inclusionProof", "checkpoint").(map[string]any)
	c["envelope"] = c["envelope"].(string) + "\u2014 witness.example AAAAAAAAAAAAAAAA\n"
}

func TestVerifyFacts(t *testing.T) {
	l := newLab(t)
	data, rootJSON, options := l.make(labBundle{tsTime: l.now.Add(30 * time.Second)})
	r, err := ParseTrustedRoot(rootJSON)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	v := r.Verify(b, options)
	if !v.OK() || v.Leaf == nil || v.LogIndex != 2 || len(v.LogID) != 64 {
		t.Errorf("facts are %+v", v)
	}
	if want := l.now.Add(time.Minute); !v.IntegratedTime.Equal(want) {
		t.Errorf("integrated time is %v, want %v", v.IntegratedTime, want)
	}
	if want := l.now.Add(30 * time.Second); !v.SignedAt.Equal(want) {
		t.Errorf("signed at %v, want the earlier clock's %v", v.SignedAt, want)
	}
	b.Envelope.Payload[0] ^= 1
	if v := r.Verify(b, options); v.OK() || !v.SignedAt.IsZero() || v.LogID != "" {
		t.Errorf("facts of a bundle that does not hold: %+v", v)
	}
}

func TestVerificationOK(t *testing.T) {
	var none *Verification
	if none.OK() || new(Verification).OK() {
		t.Error("what was not done is OK")
	}
	held := Step{Status: Held}
	v := Verification{Format: held, Chain: held, CT: held, Time: held, Signature: held, Log: held, Leaf: new(x509.Certificate)}
	if !v.OK() {
		t.Error("not OK though every step held")
	}
	for _, step := range []*Step{&v.Format, &v.Chain, &v.CT, &v.Time, &v.Signature, &v.Log} {
		for _, status := range []Status{NotDone, Failed, Undecided, NotApplicable} {
			step.Status = status
			if v.OK() {
				t.Errorf("OK though a step is %v", status)
			}
		}
		step.Status = Held
	}
	v.Leaf = nil
	if v.OK() {
		t.Error("OK with a chain held for no leaf")
	}
}

// TestReasons checks that the table has every code once, and only codes that exist.
func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if seen[r.Code] || r.Code == "" || strings.ToLower(r.Code) != r.Code || strings.ContainsAny(r.Code, " _") {
			t.Errorf("reason %q is not one code in kebab-case", r.Code)
		}
		seen[r.Code] = true
	}
	if n := len(seen); n != len(slices.Collect(maps.Keys(seen))) || n < 70 {
		t.Errorf("%d reasons", n)
	}
}
