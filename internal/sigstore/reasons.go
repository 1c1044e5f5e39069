package sigstore

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
