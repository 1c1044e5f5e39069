package publish

import (
	"context"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/http"
)

// timestamp has a signature stamped by a timestamp authority: a TimeStampReq over its SHA-256 (RFC 3161 section
// 2.4.1), sent as RFC 3161 section 3.4 says. It asks for the authority's certificate in the answer, and for no nonce:
// what is stamped exists once. The answer is kept whole; whether it is any good the verification of the bundle says.
func (c *client) timestamp(ctx context.Context, address string, signature []byte) ([]byte, error) {
	digest := sha256.Sum256(signature)
	type imprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	query, err := asn1.Marshal(struct {
		Version      int
		Imprint      imprint
		Certificates bool `asn1:"optional"`
	}{1, imprint{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}, digest[:]}, true})
	if err != nil {
		return nil, err
	}
	q := call{service: "the timestamp authority", op: "asking for a timestamp", method: http.MethodPost, url: address, body: query,
		header: map[string]string{"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	fail := func(message string) error {
		return &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Message: message}
	}
	var reply struct {
		Status struct {
			Status int
			Text   asn1.RawValue  `asn1:"optional"`
			Fail   asn1.BitString `asn1:"optional"`
		}
		Token asn1.RawValue `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(a.body, &reply); err != nil || len(rest) > 0 {
		return nil, fail("the answer is not a timestamp response")
	}
	if reply.Status.Status > 1 || len(reply.Token.FullBytes) == 0 { // granted, granted with modifications
		return nil, fail("no timestamp was granted")
	}
	return a.body, nil
}
