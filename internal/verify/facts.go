package verify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/sigstore"
	"assay/internal/sigstore/strictjson"
)

// The predicate types that npm's registry serves, and the payload type that holds them.
const (
	publishType       = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1"
	provenanceTypeV02 = "https://slsa.dev/provenance/v0.2"
	provenanceTypeV1  = "https://slsa.dev/provenance/v1"
	payloadType       = "application/vnd.in-toto+json"
)

// Limits on what is read of one package. A registry that serves more is refused rather than obeyed.
const (
	maxAttestations = 32
	maxSignatures   = 32
	maxIntegrity    = 4 << 10 // bytes of dist.integrity; one SHA-512 has 95
	maxText         = 4 << 10 // bytes of one text of a result, of which the evidence chooses some
)

// facts are the evidence taken apart, each part once, for the checks to compare. What could not be read
// is kept as a problem of its own for the check whose question it is.
type facts struct {
	in Input

	doc        document
	docProblem string // why the version document cannot be read, "" if it can
	docDetail  string
	announced  bool // the version document announces attestations

	registryIntegrity npm.Integrity
	integrityProblem  error

	claim claim

	list         listProblem
	attestations []*attestation

	earlierDone     bool
	earlierSigned   bool      // earlier evidence holds a registry signature that verifies
	earlierAttested bool      // earlier evidence holds a publish attestation that verifies
	earlierTime     time.Time // its log time
}

// document is what the checks need of a version document. Everything in it is a claim, save what a
// signature covers.
type document struct {
	Name       string         `json:"name"`
	Version    string         `json:"version"`
	Repository jsontext.Value `json:"repository"`
	Dist       struct {
		Integrity    string         `json:"integrity"`
		Shasum       string         `json:"shasum"`
		Tarball      string         `json:"tarball"`
		Signatures   jsontext.Value `json:"signatures"`
		Attestations jsontext.Value `json:"attestations"`
	} `json:"dist"`
}

// claim is the repository that the package says it comes from.
type claim struct {
	present    bool
	repository npm.Repository
	err        error
	raw        string
}

type listProblem struct{ reason, detail string }

type kind int

const (
	kindUnreadable kind = iota // not a bundle, or its statement cannot be read
	kindProvenance
	kindPublish
	kindOther
)

// attestation is one element of the registry's list, taken apart.
type attestation struct {
	index     int    // from 1, as it stands in the list
	outerType string // predicateType beside the bundle: unsigned
	outer     bool   // whether there was one

	bundle    *sigstore.Bundle
	format    *sigstore.FormatError // why the bundle cannot be read
	statement *sigstore.Statement
	stmtErr   error
	kind      kind

	key       *RegistryKey // for a bundle without certificate: the key it names
	verified_ *sigstore.Verification
	cert      *publisher.Certificate
	certErr   error

	publisher_ *publisher.Publisher // see identity

	predicate    *predicate // read once, by readPredicate
	predicateErr outcome    // why it cannot be read; a pass if it can
}

// label names the attestation for a message.
func (a *attestation) label() string {
	t := a.outerType
	if a.statement != nil {
		t = a.statement.PredicateType
	}
	switch {
	case t == "":
		return fmt.Sprintf("attestation %d", a.index)
	case a.kind == kindPublish:
		return "publish attestation"
	case a.kind == kindProvenance:
		return "provenance attestation"
	}
	return fmt.Sprintf("attestation %d (%s)", a.index, t)
}

// verified reports whether every cryptographic step of the bundle holds and its statement could be read.
func (a *attestation) verified() bool {
	return a.bundle != nil && a.statement != nil && a.verified_.OK() && a.bundle.Envelope != nil &&
		a.bundle.Envelope.PayloadType == payloadType
}

// identity is the publisher that the certificate names, verified or not: callers say which they need. It is
// nil where there is no certificate that can be read.
func (a *attestation) identity() *publisher.Publisher {
	if a.publisher_ == nil && a.cert != nil {
		a.publisher_ = publisher.New(a.cert, a.verified_.SignedAt, a.verified_.LogIndex)
	}
	return a.publisher_
}

// byKey reports whether the bundle claims to be signed by a registry's key rather than a certificate.
func (a *attestation) byKey() bool { return a.bundle != nil && a.bundle.Leaf == nil }

func gather(in Input) *facts {
	if in.Evidence == nil {
		in.Evidence = &evidence.Evidence{ID: in.Package.ID, Registry: in.Package.Registry}
	}
	f := &facts{in: in}
	f.readDocument()
	f.readClaim()
	f.readAttestations()
	return f
}

func (f *facts) readDocument() {
	a := f.in.Evidence.Document
	switch a.State {
	case evidence.Served:
	case evidence.NotAsked:
		f.docProblem = reasonNotCollected
		return
	case evidence.Absent:
		f.docProblem, f.docDetail = reasonVersionAbsent, fmt.Sprintf("the registry answered %d", a.Status)
		return
	default:
		f.docProblem, f.docDetail = a.Reason, a.Detail
		if f.docProblem == "" {
			f.docProblem = reasonNotCollected
		}
		return
	}
	// A document with two members of one name reads differently to different readers, so it is refused;
	// descriptions with broken Unicode are common and harmless, since no check compares them.
	err := json.Unmarshal(a.Body, &f.doc, jsontext.AllowInvalidUTF8(true), json.MatchCaseInsensitiveNames(false))
	if err != nil {
		f.doc = document{}
		f.docProblem, f.docDetail = reasonDocumentFormat, err.Error()
		return
	}
	if n := len(f.doc.Dist.Integrity); n > maxIntegrity {
		f.doc = document{}
		f.docProblem, f.docDetail = reasonDocumentFormat, fmt.Sprintf("dist.integrity has %d bytes, more than %d", n, maxIntegrity)
		return
	}
	if s := f.doc.Dist.Integrity; s != "" {
		f.registryIntegrity, f.integrityProblem = npm.ParseIntegrity(s)
	}
	f.announced = announces(f.doc.Dist.Attestations)
}

// announces reports whether dist.attestations says that there are some. Anything but an absence counts:
// what cannot be understood must not read as "none".
func announces(v jsontext.Value) bool {
	switch strings.TrimSpace(string(v)) {
	case "", "null", "false":
		return false
	}
	return true
}

// readClaim takes the repository that the package names: from the version document, or, where no registry
// was asked, from the package.json inside the tarball.
func (f *facts) readClaim() {
	raw := f.doc.Repository
	if f.docProblem != "" {
		t := f.in.Evidence.Tarball
		if f.docProblem != reasonNotCollected || t == nil || t.Manifest == nil {
			return
		}
		var m struct {
			Repository jsontext.Value `json:"repository"`
		}
		if err := json.Unmarshal(t.Manifest, &m, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err != nil {
			return
		}
		raw = m.Repository
	}
	if len(raw) == 0 {
		return
	}
	f.claim.raw = strings.Trim(string(raw), `"`)
	f.claim.repository, f.claim.present, f.claim.err = npm.RepositoryFromManifest(raw)
}

// readAttestations takes the registry's list apart and verifies each bundle once.
func (f *facts) readAttestations() {
	a := f.in.Evidence.Attestations
	if a.State != evidence.Served {
		return
	}
	items, problem := splitList(a.Body)
	if f.in.Options.BundleGiven {
		items, problem = splitFile(a.Body)
	}
	f.list = problem
	for i, item := range items {
		f.attestations = append(f.attestations, f.readAttestation(i+1, item))
	}
}

// item is one element of the list: {"predicateType": …, "bundle": …} and nothing that matters besides.
type item struct {
	PredicateType *string        `json:"predicateType"`
	Bundle        jsontext.Value `json:"bundle"`
}

// splitList reads {"attestations":[…]}. An element that is not an object is kept, to be refused by name.
func splitList(body []byte) ([]item, listProblem) {
	if items, ok := splitStrict(body); ok {
		return items, listProblem{}
	}
	// Something is wrong. If it is inside one element, that element is refused, and not the list.
	var list struct {
		Attestations *few[jsontext.Value] `json:"attestations"`
	}
	if err := json.Unmarshal(body, &list, json.MatchCaseInsensitiveNames(false)); err != nil {
		if errors.Is(err, errTooMany) {
			return nil, listProblem{reasonListFormat, fmt.Sprintf("more than %d attestations", maxAttestations)}
		}
		return nil, listProblem{reasonListFormat, err.Error()}
	}
	if list.Attestations == nil {
		return nil, listProblem{reasonListFormat, `there is no member "attestations"`}
	}
	if len(*list.Attestations) == 0 {
		return nil, listProblem{reasonListEmpty, ""}
	}
	if len(*list.Attestations) > maxAttestations {
		return nil, listProblem{reasonListFormat, fmt.Sprintf("more than %d attestations", maxAttestations)}
	}
	items := make([]item, len(*list.Attestations))
	for i, raw := range *list.Attestations {
		if err := json.Unmarshal(raw, &items[i]); err != nil {
			items[i] = item{Bundle: raw}
		}
	}
	return items, listProblem{}
}

// few is a JSON array of which no more is read than may be in it: a million empty elements would take an
// answer's size many times over. What follows one element too many is not looked at.
type few[T any] []T

var errTooMany = errors.New("too many elements")

// UnmarshalJSONFrom reads an array, or null for nil. It returns errTooMany for one that is too long for any
// list of package verify.
func (l *few[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return json.UnmarshalDecode(d, (*[]T)(l))
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*l = []T{}
	for d.PeekKind() != ']' {
		if len(*l) >= max(maxAttestations, maxSignatures) {
			return errTooMany
		}
		*l = append(*l, *new(T))
		if err := json.UnmarshalDecode(d, &(*l)[len(*l)-1]); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// splitStrict is splitList for a list in which nothing is out of order. Elements share body's memory.
func splitStrict(body []byte) ([]item, bool) {
	s := strictjson.New(body)
	var items []item
	err := s.Object(func(name []byte) error {
		if string(name) != "attestations" {
			return s.Skip()
		}
		return s.Array(func() error {
			if len(items) == maxAttestations {
				return errOutOfOrder
			}
			items = append(items, item{})
			return readItem(s, &items[len(items)-1])
		})
	})
	return items, err == nil && s.End() == nil && len(items) > 0
}

// isBareBundle reports whether body begins as a bundle does and holds nothing after it. It looks no further
// than it has to: whether it is a bundle is for ParseBundle to say.
func isBareBundle(body []byte) bool {
	s := strictjson.New(body)
	err := s.Object(func(name []byte) error {
		switch string(name) {
		case "mediaType":
			return errFound
		case "attestations":
			return errOutOfOrder // a registry's answer
		}
		if k := s.Kind(); k == '{' || k == '[' {
			_, err := s.Span()
			return err
		}
		return s.Skip()
	})
	if err != errFound {
		return false
	}
	for _, seam := range []string{"}{", "}\n{", "}\r\n{", "} {"} {
		if bytes.Contains(body, []byte(seam)) {
			return false // JSON lines, or something to be read with care
		}
	}
	return true
}

var errFound = errors.New("found")

var errOutOfOrder = errors.New("out of order")

func readItem(s *strictjson.Scanner, it *item) error {
	return s.Object(func(name []byte) error {
		var err error
		switch string(name) {
		case "predicateType":
			var t string
			t, err = s.String()
			it.PredicateType = &t
		case "bundle":
			if s.Kind() != '{' {
				return errOutOfOrder
			}
			var raw []byte
			raw, err = s.Span() // ParseBundle checks it
			it.Bundle = raw
		default:
			err = s.Skip()
		}
		return err
	})
}

// splitFile reads what a user may have at hand: a registry's answer, one bare bundle, or either of them on
// each line. What cannot be read as any of them is taken for a broken bundle, which bundle-format refuses.
func splitFile(body []byte) ([]item, listProblem) {
	if isBareBundle(body) {
		return []item{{Bundle: body}}, listProblem{}
	}
	if items, ok := splitStrict(body); ok {
		return items, listProblem{}
	}
	var items []item
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	for {
		value, err := d.ReadValue()
		if errors.Is(err, io.EOF) && len(items) > 0 {
			return items, listProblem{}
		}
		if err != nil {
			return []item{{Bundle: body}}, listProblem{}
		}
		var list struct {
			Attestations jsontext.Value `json:"attestations"`
		}
		if json.Unmarshal(value, &list) == nil && list.Attestations != nil {
			more, problem := splitList(value)
			if problem.reason != "" {
				return nil, problem
			}
			items = append(items, more...)
		} else {
			var wrapped item
			if json.Unmarshal(value, &wrapped) != nil || wrapped.Bundle == nil {
				wrapped = item{Bundle: value.Clone()}
			}
			items = append(items, wrapped)
		}
		if len(items) > maxAttestations {
			return nil, listProblem{reasonListFormat, fmt.Sprintf("more than %d attestations", maxAttestations)}
		}
	}
}

func (f *facts) readAttestation(index int, it item) *attestation {
	a := &attestation{index: index}
	if it.PredicateType != nil {
		a.outerType, a.outer = *it.PredicateType, true
	}
	bundle, err := sigstore.ParseBundle(it.Bundle)
	if err != nil {
		a.format = formatError(err)
		return a
	}
	a.bundle = bundle
	var options sigstore.Options
	if bundle.Leaf == nil {
		if a.key = f.attestationKey(bundle); a.key != nil {
			options.Key = &sigstore.Key{ID: a.key.ID, Public: a.key.Public, Start: a.key.Start, End: a.key.End}
		}
	}
	if f.in.Trust.Root != nil {
		a.verified_ = f.in.Trust.Root.Verify(bundle, options)
	} else {
		a.verified_ = &sigstore.Verification{}
	}
	if leaf := a.verified_.Leaf; leaf != nil {
		a.cert, a.certErr = publisher.ReadCertificate(leaf)
	}
	if bundle.Envelope == nil {
		return a
	}
	a.statement, a.stmtErr = sigstore.ParseStatement(bundle.Envelope.Payload)
	if a.stmtErr != nil {
		a.statement = nil
		return a
	}
	switch a.statement.PredicateType {
	case publishType:
		a.kind = kindPublish
	case provenanceTypeV02, provenanceTypeV1:
		a.kind = kindProvenance
	default:
		a.kind = kindOther
		if strings.HasPrefix(a.statement.PredicateType, "https://slsa.dev/provenance/") {
			a.kind = kindProvenance // a newer version: provenance all the same, which the predicate check cannot read
		}
	}
	if a.kind == kindProvenance && a.cert != nil {
		a.predicate, a.predicateErr = readPredicate(a.statement, a.cert)
	}
	return a
}

func formatError(err error) *sigstore.FormatError {
	if fe, ok := err.(*sigstore.FormatError); ok {
		return fe
	}
	return &sigstore.FormatError{Reason: "bundle-unreadable", Detail: err.Error()}
}

// attestationKey finds the registry key that a bundle names: one meant for attestations if there is one, so
// that a wrong usage shows as just that.
func (f *facts) attestationKey(b *sigstore.Bundle) *RegistryKey {
	hint := b.KeyHint
	if hint == "" && b.Envelope != nil {
		hint = b.Envelope.KeyID
	}
	if hint == "" {
		return nil
	}
	var found *RegistryKey
	for i := range f.in.Trust.Keys {
		k := &f.in.Trust.Keys[i]
		if k.ID != hint {
			continue
		}
		if forAttestations(k) {
			return k
		}
		if found == nil {
			found = k
		}
	}
	return found
}

func forAttestations(k *RegistryKey) bool { return k.Usage == "" || k.Usage == "npm:attestations" }
func forSignatures(k *RegistryKey) bool   { return k.Usage == "" || k.Usage == "npm:signatures" }

// each runs one question over every attestation and keeps the worst answer, with the attestation's name.
// Where there are none it says why the question does not arise.
func (f *facts) each(question func(*attestation) outcome) outcome {
	if len(f.attestations) == 0 {
		return skip(f.noAttestations())
	}
	result := skip(reasonNotApplicable)
	for _, a := range f.attestations {
		o := question(a)
		if o.status != Pass && o.status != Skip || o.reason != "" && o.status == Pass {
			o = o.with(a.label())
		}
		result = worst(result, o)
	}
	return result
}

// noAttestations says why there are no attestations to look at.
func (f *facts) noAttestations() string {
	switch f.in.Evidence.Attestations.State {
	case evidence.Absent:
		return reasonNoAttestations
	case evidence.Unavailable:
		return reasonNotCollected
	case evidence.Served:
		return reasonListUnusable
	}
	if f.docProblem != "" {
		return reasonNotCollected
	}
	if f.announced {
		return reasonNotCollected
	}
	return reasonNoAttestations
}

// of returns the attestations of one kind.
func (f *facts) of(k kind) []*attestation {
	var of []*attestation
	for _, a := range f.attestations {
		if a.kind == k {
			of = append(of, a)
		}
	}
	return of
}

// keyless reports whether the registry is declared to have no keys and a publisher is named to stand in.
func (f *facts) keyless() bool { return f.in.Options.Keyless && f.in.Options.Expected.NamesSomebody() }

// registrySigns reports whether the registry is known to sign its packages.
func (f *facts) registrySigns() bool {
	switch f.in.Options.Signs {
	case SignsAlways:
		return true
	case SignsPartly:
		return false
	}
	return !f.in.Options.Keyless && f.in.Trust.KeyState == KeysKnown
}

// publisher returns the publisher of the first provenance attestation.
func (f *facts) publisher() *publisher.Publisher {
	for _, a := range f.of(kindProvenance) {
		if a.verified() && a.cert != nil {
			return a.identity()
		}
	}
	return nil
}

// sha512 returns the digest that statements have to name: the registry's integrity, which must hold exactly
// one sha512, or "" and the reason.
func (f *facts) sha512() (digest []byte, reason string) {
	if f.integrityProblem != nil {
		return nil, reasonIntegrityFormat
	}
	hashes := f.registryIntegrity.Find("sha512")
	switch len(hashes) {
	case 0:
		return nil, reasonIntegrityAbsent
	case 1:
		return hashes[0].Digest, ""
	}
	return nil, reasonIntegrityAmbiguous
}

// signatureKnown reports whether something other than the version document says that this package was
// signed: attestations are made for signed packages only, and earlier evidence may hold a signature.
func (f *facts) signatureKnown() bool {
	if f.announced || f.in.Evidence.Attestations.State == evidence.Served {
		return true
	}
	f.readEarlier()
	return f.earlierSigned || f.earlierAttested
}

// readEarlier looks at what earlier runs were served. Such evidence may come from a cache that somebody
// else filled, so it counts only where a registry key vouches for it: a bundle that merely verifies could
// have been made by anyone with a workflow.
func (f *facts) readEarlier() {
	if f.earlierDone {
		return
	}
	f.earlierDone = true
	for _, e := range f.in.Evidence.Earlier {
		if e.Document != nil && !f.earlierSigned {
			var doc document
			err := json.Unmarshal(e.Document, &doc, jsontext.AllowInvalidUTF8(true))
			if err == nil && doc.Name == f.in.Package.ID.Name && doc.Version == f.in.Package.ID.Version {
				o := f.verifySignatures(doc, time.Time{})
				f.earlierSigned = o.status == Pass
			}
		}
		if e.Attestations == nil || f.earlierAttested {
			continue
		}
		items, problem := splitList(e.Attestations)
		if problem.reason != "" {
			continue
		}
		for i, it := range items {
			a := f.readAttestation(i+1, it)
			if a.kind == kindPublish && f.publishHolds(a) {
				f.earlierAttested = true
				f.earlierTime = a.verified_.SignedAt
			}
		}
	}
}

// publishHolds reports whether a is a publish attestation for this package by a key of this registry.
func (f *facts) publishHolds(a *attestation) bool {
	return a.verified() && a.byKey() && a.key != nil && forAttestations(a.key) && f.namesPackage(a)
}

// namesPackage reports whether the statement's one subject is this package, whatever its digest.
func (f *facts) namesPackage(a *attestation) bool {
	return a.statement != nil && len(a.statement.Subject) == 1 && a.statement.Subject[0].Name == f.in.Package.ID.PURL()
}

// publishTime returns the best known time at which the version was published, and whether it is verified:
// the log time of the publish attestation, else that of earlier evidence, else the package document's
// word. It is zero where nothing is known.
func (f *facts) publishTime() (t time.Time, verified bool) {
	for _, a := range f.of(kindPublish) {
		if f.publishHolds(a) {
			return a.verified_.SignedAt, true
		}
	}
	if len(f.in.Evidence.Earlier) > 0 {
		f.readEarlier()
		if !f.earlierTime.IsZero() {
			return f.earlierTime, true
		}
	}
	if p := f.in.Evidence.Packument; p.State == evidence.Served {
		return claimedTime(p.Body, f.in.Package.ID.Version), false
	}
	return time.Time{}, false
}

// claimedTime reads time[version] of a package document.
func claimedTime(body []byte, version string) time.Time {
	var p struct {
		Time map[string]jsontext.Value `json:"time"`
	}
	if err := json.Unmarshal(body, &p, jsontext.AllowInvalidUTF8(true)); err != nil {
		return time.Time{}
	}
	var s string
	if err := json.Unmarshal(p.Time[version], &s); err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func sameBytes(a, b []byte) bool { return len(a) > 0 && bytes.Equal(a, b) }

func utc(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
