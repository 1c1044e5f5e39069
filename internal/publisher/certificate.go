// Package publisher takes the identity of a publisher out of a certificate that has been verified, and
// compares two of them. Nothing but the certificate is ever asked: what a package, a registry or a
// statement says of its own origin is a claim, and no claim becomes part of a [Publisher].
package publisher

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// An Extension is the last arc of a Fulcio certificate extension, 1.3.6.1.4.1.57264.1.N
// (sigstore/fulcio, docs/oid-info.md).
type Extension int

// The extensions that Fulcio writes for a CI job. Those up to 6 are deprecated, hold raw text and, but for
// the issuer, are written for GitHub only; the others hold a DER UTF8String.
const (
	ExtIssuerV1        Extension = 1
	ExtGitHubTrigger   Extension = 2
	ExtGitHubSHA       Extension = 3
	ExtGitHubWorkflow  Extension = 4 // free text: the workflow's name, not its path
	ExtGitHubRepo      Extension = 5 // "owner/repo"
	ExtGitHubRef       Extension = 6
	ExtIssuer          Extension = 8
	ExtSignerURI       Extension = 9
	ExtSignerDigest    Extension = 10
	ExtRunner          Extension = 11
	ExtRepository      Extension = 12
	ExtCommit          Extension = 13
	ExtRef             Extension = 14
	ExtRepositoryID    Extension = 15
	ExtOwner           Extension = 16
	ExtOwnerID         Extension = 17
	ExtConfigURI       Extension = 18
	ExtConfigDigest    Extension = 19
	ExtTrigger         Extension = 20
	ExtRun             Extension = 21
	ExtVisibility      Extension = 22
	ExtEnvironment     Extension = 23
	ExtTokenSubject    Extension = 24
	lastKnownExtension           = 24
)

// String names the extension as Fulcio's documentation does, with its number.
func (e Extension) String() string {
	if name, ok := extensionNames[e]; ok {
		return fmt.Sprintf("%s (1.3.6.1.4.1.57264.1.%d)", name, int(e))
	}
	return fmt.Sprintf("extension 1.3.6.1.4.1.57264.1.%d", int(e))
}

var extensionNames = map[Extension]string{
	ExtIssuerV1: "Issuer", ExtGitHubTrigger: "GitHub Workflow Trigger", ExtGitHubSHA: "GitHub Workflow SHA",
	ExtGitHubWorkflow: "GitHub Workflow Name", ExtGitHubRepo: "GitHub Workflow Repository", ExtGitHubRef: "GitHub Workflow Ref",
	ExtIssuer: "Issuer (V2)", ExtSignerURI: "Build Signer URI", ExtSignerDigest: "Build Signer Digest",
	ExtRunner: "Runner Environment", ExtRepository: "Source Repository URI", ExtCommit: "Source Repository Digest",
	ExtRef: "Source Repository Ref", ExtRepositoryID: "Source Repository Identifier", ExtOwner: "Source Repository Owner URI",
	ExtOwnerID: "Source Repository Owner Identifier", ExtConfigURI: "Build Config URI", ExtConfigDigest: "Build Config Digest",
	ExtTrigger: "Build Trigger", ExtRun: "Run Invocation URI", ExtVisibility: "Source Repository Visibility At Signing",
	ExtEnvironment: "Deployment Environment", ExtTokenSubject: "Token Subject",
}

// A Certificate is what a Fulcio certificate says of the job that it was issued to, each extension as it
// stands. Absent and empty are told apart: [Certificate.Has].
type Certificate struct {
	// SubjectURI is the one URI among the subject alternative names: the signer's workflow with its ref.
	SubjectURI string
	extensions [lastKnownExtension + 1]string
	present    [lastKnownExtension + 1]bool
}

// ReadCertificate reads the subject alternative name and Fulcio's extensions. It does not verify the
// certificate: that is for the caller to have done before it believes a word. It returns an error where the
// certificate has no URI or several names, or where an extension is not encoded as Fulcio encodes it.
func ReadCertificate(cert *x509.Certificate) (*Certificate, error) {
	c := &Certificate{}
	if len(cert.URIs) != 1 || len(cert.EmailAddresses) != 0 || len(cert.DNSNames) != 0 || len(cert.IPAddresses) != 0 {
		return nil, fmt.Errorf("certificate names %d URIs and %d e-mail addresses; a CI job has exactly one URI",
			len(cert.URIs), len(cert.EmailAddresses))
	}
	uri, err := subjectURI(cert)
	if err != nil {
		return nil, err
	}
	c.SubjectURI = uri
	for _, ext := range cert.Extensions {
		n, ok := fulcioArc(ext.Id)
		if !ok {
			continue
		}
		if c.present[n] {
			return nil, fmt.Errorf("certificate holds %v twice", n)
		}
		value := string(ext.Value)
		if n >= ExtIssuer {
			text, ok := utf8String(ext.Value)
			if !ok {
				return nil, fmt.Errorf("certificate's %v is not a DER UTF8String", n)
			}
			value = text
		}
		if !utf8.ValidString(value) || strings.ContainsFunc(value, isControl) {
			return nil, fmt.Errorf("certificate's %v holds control characters or invalid UTF-8", n)
		}
		c.present[n] = true
		c.extensions[n] = value
	}
	return c, nil
}

// utf8String reads a DER UTF8String that fills the whole of der (X.690, sections 8.1.3 and 10.1: the length in
// the fewest bytes). No value of an extension is longer than 64 KiB.
func utf8String(der []byte) (string, bool) {
	if len(der) < 2 || der[0] != asn1.TagUTF8String {
		return "", false
	}
	length, text := int(der[1]), der[2:]
	switch {
	case length < 0x80:
	case length == 0x81 && len(text) > 0 && text[0] >= 0x80:
		length, text = int(text[0]), text[1:]
	case length == 0x82 && len(text) > 1 && text[0] > 0:
		length, text = int(text[0])<<8|int(text[1]), text[2:]
	default:
		return "", false
	}
	if length != len(text) {
		return "", false
	}
	return string(text), true
}

// subjectURI returns the URI of the subject alternative name as it stands in the certificate: net/url would
// re-encode it, and two spellings of one identity are one too many.
func subjectURI(cert *x509.Certificate) (string, error) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var names asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) != 0 {
			break
		}
		var name asn1.RawValue
		rest, err := asn1.Unmarshal(names.Bytes, &name)
		if err != nil || len(rest) != 0 || name.Class != asn1.ClassContextSpecific || name.Tag != 6 {
			break // RFC 5280, section 4.2.1.6: uniformResourceIdentifier is [6]
		}
		uri := string(name.Bytes)
		if strings.ContainsFunc(uri, isControl) {
			return "", fmt.Errorf("certificate's subject alternative name holds control characters")
		}
		return uri, nil
	}
	return "", fmt.Errorf("certificate's subject alternative name is not exactly one URI")
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func fulcioArc(id asn1.ObjectIdentifier) (Extension, bool) {
	base := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	if len(id) != len(base)+1 || !id[:len(base)].Equal(base) {
		return 0, false
	}
	n := id[len(base)]
	if n < 1 || n > lastKnownExtension || n == 7 { // 7 is a kind of name inside the subject, never an extension
		return 0, false
	}
	return Extension(n), true
}

// Has reports whether the certificate holds the extension, be it empty.
func (c *Certificate) Has(e Extension) bool { return c.present[e] }

// Get returns the extension's text, "" if absent.
func (c *Certificate) Get(e Extension) string { return c.extensions[e] }

// Source returns one of the extensions that name the source: [ExtRepository], [ExtOwner] or [ExtRun]. Fulcio
// writes "https://gitlab.com" into them for every GitLab instance (sigstore/fulcio, config/identity/config.yaml),
// though only GitLab.com's issuer speaks for that host; for another issuer the host is the issuer's own.
func (c *Certificate) Source(e Extension) string {
	value := c.Get(e)
	host := c.Host()
	if rest, ok := strings.CutPrefix(value, "https://gitlab.com/"); ok && host != "" && host != "https://gitlab.com" && host != "https://github.com" {
		return host + "/" + rest
	}
	return value
}

// Host returns the forge that the issuer speaks for, such as "https://github.com", and "" where the issuer
// is not an https URL. GitHub gives enterprises issuers of their own under its own.
func (c *Certificate) Host() string {
	issuer := c.Issuer()
	if issuer == GitHubIssuer || strings.HasPrefix(issuer, GitHubIssuer+"/") {
		return "https://github.com"
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return "https://" + strings.ToLower(u.Host)
}

// Issuer returns the OIDC issuer: extension 8, or 1 in certificates older than that.
func (c *Certificate) Issuer() string {
	if c.Has(ExtIssuer) {
		return c.Get(ExtIssuer)
	}
	return c.Get(ExtIssuerV1)
}
