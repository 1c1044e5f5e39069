package sigstore

import "slices"

// Reason codes. Each stands in the table of [Reasons] with what it means.
const (
	// Parsing.
	reasonTooLarge       = "too-large"
	reasonTooMany        = "too-many"
	reasonJSON           = "json-malformed"
	reasonJSONDuplicate  = "json-duplicate-name"
	reasonJSONUnknown    = "json-unknown-member"
	reasonBase64         = "base64-malformed"
	reasonNegative       = "number-negative"
	reasonMediaType      = "media-type-unknown"
	reasonContentMissing = "content-missing"
	reasonContentTwice   = "content-ambiguous"
	reasonMaterialTwice  = "material-ambiguous"
	reasonSignatureCount = "signature-count"
	reasonStatement      = "statement-malformed"
	reasonStatementType  = "statement-type-unknown"
	reasonRoot           = "trusted-root-malformed"
	reasonRootMediaType  = "trusted-root-media-type-unknown"

	// Format.
	reasonChainInV03   = "chain-in-v0.3"
	reasonPayloadType  = "payload-type"
	reasonContentEmpty = "content-empty"

	// Certificates, in several steps.
	reasonCertificateMissing   = "certificate-missing"
	reasonCertificateMalformed = "certificate-malformed"
	reasonKeySigned            = "key-signed"

	// Chain.
	reasonIssuerUnknown = "issuer-unknown"
	reasonCertSignature = "certificate-signature"
	reasonCATime        = "ca-certificate-not-valid"
	reasonCAEntryTime   = "ca-not-trusted-then"
	reasonCAConstraint  = "ca-constraint"
	reasonLeaf          = "leaf-unfit"

	// CT.
	reasonSCTMissing   = "sct-missing"
	reasonSCTMalformed = "sct-malformed"
	reasonSCTIssuer    = "sct-issuer-unknown"
	reasonSCTLog       = "sct-log-unknown"
	reasonSCTTime      = "sct-log-not-trusted-then"
	reasonSCTSignature = "sct-signature"

	// Time.
	reasonNoTime         = "no-trusted-time"
	reasonTimeOutside    = "outside-validity"
	reasonTSMalformed    = "timestamp-malformed"
	reasonTSAUnknown     = "timestamp-authority-unknown"
	reasonTSSignature    = "timestamp-signature"
	reasonTSImprint      = "timestamp-imprint"
	reasonTSACertificate = "timestamp-certificate-unfit"
	reasonTSACertTime    = "timestamp-certificate-not-valid"
	reasonTSAEntryTime   = "timestamp-authority-not-trusted-then"

	// Signature.
	reasonKeyMissing      = "key-missing"
	reasonKeyHint         = "key-hint"
	reasonKeyExpected     = "key-expected"
	reasonKeyKind         = "key-kind-unknown"
	reasonKeyID           = "keyid-unknown"
	reasonSignature       = "signature-invalid"
	reasonArtifactMissing = "artifact-missing"
	reasonArtifact        = "artifact-mismatch"
	reasonMessageHash     = "message-digest-algorithm"

	// Log.
	reasonEntryMissing        = "log-entry-missing"
	reasonEntryTwice          = "log-entry-duplicate"
	reasonEntryUnknown        = "log-entry-kind-unknown"
	reasonEntryWithdrawn      = "log-entry-withdrawn"
	reasonEntryUnbound        = "log-entry-unbound"
	reasonEntryKind           = "log-entry-kind-mismatch"
	reasonEntryContent        = "log-entry-kind-unfit"
	reasonLogUnknown          = "log-unknown"
	reasonLogKey              = "log-key-kind-unknown"
	reasonLogTime             = "log-not-trusted-then"
	reasonSET                 = "set-invalid"
	reasonPromiseMissing      = "inclusion-promise-missing"
	reasonProofMissing        = "inclusion-proof-missing"
	reasonProof               = "inclusion-proof-invalid"
	reasonProofIndex          = "inclusion-proof-index"
	reasonProofRoot           = "inclusion-proof-root"
	reasonProofSize           = "inclusion-proof-size"
	reasonCheckpointMissing   = "checkpoint-missing"
	reasonCheckpoint          = "checkpoint-malformed"
	reasonCheckpointOrigin    = "checkpoint-origin"
	reasonCheckpointSigner    = "checkpoint-signer"
	reasonCheckpointSignature = "checkpoint-signature"
	reasonBody                = "log-body-malformed"
	reasonBodyForm            = "log-body-form"
	reasonBodySignatures      = "log-body-signature-count"
	reasonBodySignature       = "log-signature-mismatch"
	reasonBodyCertificate     = "log-certificate-mismatch"
	reasonBodyKey             = "log-key-mismatch"
	reasonBodyKeyDetails      = "log-key-details-mismatch"
	reasonBodyHash            = "log-digest-mismatch"
)

// A Reason is a code that a [Step] or a [FormatError] may have.
type Reason struct {
	Code string
	// Stricter says why the rule is stricter than sigstore-go 1.3.0, for the reasons that may refuse a bundle which
	// sigstore-go takes; empty for the others.
	Stricter string
}

// Reasons returns every reason code, in no order that means anything.
func Reasons() []Reason { return slices.Clone(reasons) }

const (
	everyEntry     = "every log entry has to hold; sigstore-go passes over those that it cannot verify, where another holds"
	everyTimestamp = "a timestamp that is there has to hold; sigstore-go ignores one that does not, where another time is trusted"
)

var reasons = []Reason{
	{reasonTooLarge, "a verifier of untrusted input bounds what it reads"},
	{reasonTooMany, "a verifier of untrusted input bounds what it reads; real bundles have one of each"},
	{reasonJSON, "one spelling of each value: members by their JSON names only, integers without fraction or exponent"},
	{reasonJSONDuplicate, "two readers must not disagree about what a bundle says"},
	{reasonJSONUnknown, "one spelling of each member: sigstore-go also takes the names of the Protocol Buffers fields"},
	{reasonBase64, "one spelling of each value: sigstore-go also takes the URL-safe alphabet, missing padding and unused bits"},
	{reasonNegative, "sizes, indices and times below zero do not exist"},
	{reasonMediaType, "sigstore-go takes any spelling of a version up to 0.3 that parses as a semantic version"},
	{reasonContentMissing, ""},
	{reasonContentTwice, ""},
	{reasonMaterialTwice, ""},
	{reasonSignatureCount, ""},
	{reasonStatement, ""},
	{reasonStatementType, "a statement of another version may mean something else by its members"},
	{reasonRoot, ""},
	{reasonRootMediaType, ""},

	{reasonChainInV03, ""},
	{reasonPayloadType, ""},
	{reasonContentEmpty, ""},

	{reasonCertificateMissing, ""},
	{reasonCertificateMalformed, ""},
	{reasonKeySigned, ""},

	{reasonIssuerUnknown, ""},
	{reasonCertSignature, ""},
	{reasonCATime, "one authority has to cover all trusted times, not one for each"},
	{reasonCAEntryTime, "one authority has to cover all trusted times, not one for each"},
	{reasonCAConstraint, ""},
	{reasonLeaf, "Fulcio's certificate profile: key usage for signatures, code signing named, extensions in UTF-8"},

	{reasonSCTMissing, ""},
	{reasonSCTMalformed, "a verifier of untrusted input bounds what it reads: 16 timestamps"},
	{reasonSCTIssuer, ""},
	{reasonSCTLog, ""},
	{reasonSCTTime, ""},
	{reasonSCTSignature, ""},

	{reasonNoTime, ""},
	{reasonTimeOutside, "all trusted times count; sigstore-go drops further ones of the same log or authority"},
	{reasonTSMalformed, everyTimestamp},
	{reasonTSAUnknown, ""},
	{reasonTSSignature, everyTimestamp},
	{reasonTSImprint, everyTimestamp},
	{reasonTSACertificate, "the path from the timestamp authority to its root comes from the trusted root alone"},
	{reasonTSACertTime, everyTimestamp},
	{reasonTSAEntryTime, everyTimestamp},

	{reasonKeyMissing, ""},
	{reasonKeyHint, ""},
	{reasonKeyExpected, ""},
	{reasonKeyKind, ""},
	{reasonKeyID, ""},
	{reasonSignature, ""},
	{reasonArtifactMissing, ""},
	{reasonArtifact, ""},
	{reasonMessageHash, "the digest has to be one that the key signs"},

	{reasonEntryMissing, ""},
	{reasonEntryTwice, ""},
	{reasonEntryUnknown, ""},
	{reasonEntryWithdrawn, ""},
	{reasonEntryUnbound, ""},
	{reasonEntryKind, "sigstore-go compares the kind that a bundle states with itself"},
	{reasonEntryContent, everyEntry},
	{reasonLogUnknown, everyEntry},
	{reasonLogKey, ""},
	{reasonLogTime, "without a signed entry timestamp, the log's key still has to be trusted at the time of signing"},
	{reasonSET, everyEntry},
	{reasonPromiseMissing, everyEntry},
	{reasonProofMissing, everyEntry},
	{reasonProof, ""},
	{reasonProofIndex, "Rekor v2 has one index: two different ones in a bundle contradict each other"},
	{reasonProofRoot, "what stands beside the proof has to agree with what the log signed"},
	{reasonProofSize, "what stands beside the proof has to agree with what the log signed"},
	{reasonCheckpointMissing, ""},
	{reasonCheckpoint, "signed notes as C2SP specifies them, in one form"},
	{reasonCheckpointOrigin, ""},
	{reasonCheckpointSigner, "the signature line has to name the log"},
	{reasonCheckpointSignature, ""},
	{reasonBody, everyEntry},
	{reasonBodyForm, "sigstore-go reconstructs an entry of Rekor v2 and ignores the one in the bundle, which others read"},
	{reasonBodySignatures, "an entry with further signatures is about more than this bundle"},
	{reasonBodySignature, everyEntry + "; it also ignores the body of Rekor v2 entries"},
	{reasonBodyCertificate, everyEntry + "; it also ignores the body of Rekor v2 entries"},
	{reasonBodyKey, everyEntry + "; it also ignores the body of Rekor v2 entries"},
	{reasonBodyKeyDetails, everyEntry + "; it also ignores the body of Rekor v2 entries"},
	{reasonBodyHash, everyEntry + "; it also ignores the body of Rekor v2 entries"},
}
