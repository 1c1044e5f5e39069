package verify

// Reasons are the stable codes of why a check ended as it did. Codes of Sigstore verification are those of
// package sigstore, codes of transport faults those of the registry client.
const (
	reasonAnnouncedAbsent         = "announced-absent"
	reasonAttestationStripped     = "attestation-stripped"
	reasonBuildTypeUnknown        = "build-type-unknown"
	reasonBundleGiven             = "bundle-given"
	reasonBundleUnreadable        = "bundle-unreadable"
	reasonCertificateAbsent       = "certificate-absent"
	reasonCommitMismatch          = "commit-mismatch"
	reasonDigestUnknown           = "digest-unknown"
	reasonDiskUnreadable          = "disk-unreadable"
	reasonDocumentFormat          = "document-format"
	reasonDuplicate               = "duplicate"
	reasonExtensionMismatch       = "extension-mismatch"
	reasonExtensionMissing        = "extension-missing"
	reasonFilesAdded              = "files-added"
	reasonFilesChanged            = "files-changed"
	reasonFilesMade               = "files-made"
	reasonFilesMissing            = "files-missing"
	reasonFilesPatched            = "files-patched"
	reasonFilesUnknown            = "files-unknown"
	reasonIdentityFormat          = "identity-format"
	reasonIntegrityAbsent         = "integrity-absent"
	reasonIntegrityAmbiguous      = "integrity-ambiguous"
	reasonIntegrityFormat         = "integrity-format"
	reasonIntegrityMismatch       = "integrity-mismatch"
	reasonIntegrityWeak           = "integrity-weak"
	reasonIssuerNotAccepted       = "issuer-not-accepted"
	reasonKeyExpired              = "key-expired"
	reasonKeyNotYetValid          = "key-not-yet-valid"
	reasonKeyUnknown              = "key-unknown"
	reasonKeyUsage                = "key-usage"
	reasonKeyless                 = "keyless"
	reasonLetterCase              = "letter-case"
	reasonListEmpty               = "list-empty"
	reasonListFormat              = "list-format"
	reasonListGiven               = "list-given"
	reasonListUnusable            = "list-unusable"
	reasonManifestAbsent          = "manifest-absent"
	reasonManifestAmbiguous       = "manifest-ambiguous"
	reasonManifestBin             = "manifest-bin"
	reasonManifestDependency      = "manifest-dependency"
	reasonManifestInstallScript   = "manifest-install-script"
	reasonManifestName            = "manifest-name"
	reasonManifestRepository      = "manifest-repository"
	reasonManifestScript          = "manifest-script"
	reasonManifestStripped        = "manifest-stripped"
	reasonManifestTooLarge        = "manifest-too-large"
	reasonManifestUnreadable      = "manifest-unreadable"
	reasonManifestVersion         = "manifest-version"
	reasonNotInstalled            = "not-installed"
	reasonTarballDamaged          = "tarball-damaged"
	reasonNoAttestations          = "no-attestations"
	reasonNoCommonAlgorithm       = "no-common-algorithm"
	reasonNoExpectedPublisher     = "no-expected-publisher"
	reasonNoLockfile              = "no-lockfile"
	reasonNoPublisher             = "no-publisher"
	reasonNoTrustRoot             = "no-trust-root"
	reasonNotAnnounced            = "not-announced"
	reasonNotApplicable           = "not-applicable"
	reasonNotAsked                = "not-asked"
	reasonNotCollected            = "not-collected"
	reasonNotDSSE                 = "not-dsse"
	reasonNotDone                 = "not-done"
	reasonNotProvenance           = "not-provenance"
	reasonNotVerified             = "not-verified"
	reasonOtherVersion            = "other-version"
	reasonPatchUnknown            = "patch-unknown"
	reasonPayloadType             = "payload-type"
	reasonPredicateField          = "predicate-field"
	reasonPredicateFormat         = "predicate-format"
	reasonPredicateMismatch       = "predicate-mismatch"
	reasonPredicateType           = "predicate-type"
	reasonPredicateUnknown        = "predicate-unknown"
	reasonPredicateUnreadable     = "predicate-unreadable"
	reasonProvenanceAbsent        = "provenance-absent"
	reasonPublishAbsent           = "publish-absent"
	reasonPublishOther            = "publish-other"
	reasonPublishRegistry         = "publish-registry"
	reasonPublisherUnexpected     = "publisher-unexpected"
	reasonPublishersDiffer        = "publishers-differ"
	reasonRefBranch               = "branch"
	reasonRefComment              = "comment-event"
	reasonRefOdd                  = "odd-ref"
	reasonRefOtherTag             = "other-tag"
	reasonRefPullRequest          = "pull-request"
	reasonRefSnapshot             = "snapshot-branch"
	reasonRefTag                  = "tag"
	reasonRegistryIntegrityFormat = "registry-integrity-format"
	reasonRepositoryAbsent        = "repository-absent"
	reasonRepositoryMismatch      = "repository-mismatch"
	reasonRepositoryUnreadable    = "repository-unreadable"
	reasonResolvedElsewhere       = "resolved-elsewhere"
	reasonResolvedInsecure        = "resolved-insecure"
	reasonSignatureFormat         = "signature-format"
	reasonSignatureInvalid        = "signature-invalid"
	reasonSignatureMissing        = "signature-missing"
	reasonSignedByCertificate     = "signed-by-certificate"
	reasonSignedByKey             = "signed-by-key"
	reasonSignsPartly             = "signs-partly"
	reasonSourceAbsent            = "source-absent"
	reasonSourceMismatch          = "source-mismatch"
	reasonStatementUnreadable     = "statement-unreadable"
	reasonSubjectCount            = "subject-count"
	reasonSubjectDigest           = "subject-digest"
	reasonSubjectDigestAbsent     = "subject-digest-absent"
	reasonSubjectName             = "subject-name"
	reasonTarballMismatch         = "tarball-mismatch"
	reasonTimeUnknown             = "time-unknown"
	reasonUnauthenticated         = "cache-unauthenticated"
	reasonUnknownKeyBeside        = "unknown-key-beside"
	reasonVersionAbsent           = "version-absent"
)

// holds says what it means that a check passes.
var holds = map[string]string{
	"lockfile-integrity":       "the lockfile and the registry name the same bytes",
	"tarball-integrity":        "the tarball hashes to the registry's integrity",
	"installed-files":          "the files on disk are those of the tarball",
	"registry-signature":       "a trusted key of the registry signed this name, version and integrity",
	"evidence-complete":        "the registry serves what it announces",
	"bundle-format":            "every attestation is a well-formed Sigstore bundle",
	"certificate-chain":        "the signing certificate chains to the trusted root",
	"certificate-transparency": "a known log vouches for the certificate",
	"signing-time":             "a trusted clock puts the signature within the certificate's validity",
	"envelope-signature":       "the statement is signed by the certificate's key",
	"transparency-log":         "a known log holds this certificate, statement and signature",
	"subject":                  "the statement is about exactly this tarball",
	"manifest":                 "package.json in the tarball is what the registry shows",
	"predicate":                "what the statement says of the build is what the certificate says",
	"workflow-identity":        "the certificate's repository is the one that the package claims",
	"source-repository":        "the statement's repository and commit are the certificate's and the package's",
	"publish-attestation":      "the registry attests that it accepted this package",
	"release-ref":              "built from a release ref",
}

// sentences gives each reason its sentence: what it means and, where something can be done, what.
var sentences = map[string]string{
	reasonAnnouncedAbsent:       "the registry announces attestations for this version and does not serve them; registries do lag: try again later, and keep the version you have until then",
	reasonAttestationStripped:   "this version had attestations and the registry now serves none; do not install it before you know why",
	reasonBuildTypeUnknown:      "the statement follows rules that this version of assay does not know; a newer assay may",
	reasonBundleGiven:           "the attestation came from a file, so the registry was not asked",
	reasonBundleUnreadable:      "the bundle cannot be read; see bundle-format",
	reasonCertificateAbsent:     "provenance has to be signed by a certificate issued to a CI job, and this one is not",
	reasonCommitMismatch:        "the statement names another commit than the certificate",
	reasonDigestUnknown:         "there is nothing to compare the digest with; give the tarball or --integrity",
	reasonDiskUnreadable:        "the installed files cannot be read",
	reasonDocumentFormat:        "the registry's version document breaks its format",
	reasonDuplicate:             "there may be one publish attestation, and there are several",
	reasonExtensionMismatch:     "two parts of the certificate contradict each other",
	reasonExtensionMissing:      "the certificate lacks something that its issuer always writes",
	reasonFilesAdded:            "there are files on disk that the tarball does not have, and no install script of the package explains them; reinstall it, and find out what put them there",
	reasonFilesChanged:          "files on disk are not those of the tarball; reinstall the package, and find out what changed them",
	reasonFilesMade:             "files were made or replaced after unpacking: by an install script of the package, or by the installer",
	reasonFilesMissing:          "files of the tarball are not on disk; reinstall the package",
	reasonFilesPatched:          "the project's own patch changes files of the package, and without it they are those of the tarball; nothing vouches for the patch but the project",
	reasonFilesUnknown:          "there is no list of the tarball's files to compare with",
	reasonIdentityFormat:        "the certificate does not name a workflow",
	reasonIntegrityAbsent:       "there is no integrity here, so nothing binds these bytes",
	reasonIntegrityAmbiguous:    "the registry gives several digests for one tarball",
	reasonIntegrityFormat:       "the integrity cannot be read",
	reasonIntegrityMismatch:     "the lockfile and the registry name different bytes; one of them was changed: compare with a fresh install elsewhere before you use either",
	reasonIntegrityWeak:         "there is only a SHA-1, which binds nothing; reinstall the package so that its lockfile entry holds a sha512",
	reasonIssuerNotAccepted:     "the certificate was issued to an identity that npm accepts no provenance from; name its issuer in the policy if you trust it",
	reasonKeyExpired:            "the registry's key had expired when this version was published",
	reasonKeyNotYetValid:        "the registry's key was not yet valid when this version was published",
	reasonKeyUnknown:            "no known key of the registry made this signature",
	reasonKeyUsage:              "the key is not meant for attestations",
	reasonKeyless:               "the registry is declared to have no keys",
	reasonLetterCase:            "the repositories differ in letter case only",
	reasonListEmpty:             "the registry serves an empty list of attestations",
	reasonListFormat:            "the registry's list of attestations breaks its format",
	reasonListGiven:             "the file holds both the publisher's and the registry's attestation; no registry was asked",
	reasonListUnusable:          "the registry's list of attestations cannot be used; see bundle-format and evidence-complete",
	reasonManifestAbsent:        "the tarball holds no package.json",
	reasonManifestAmbiguous:     "which package.json counts, or what it says, depends on the reader",
	reasonManifestBin:           "package.json in the tarball names other commands than the registry shows",
	reasonManifestDependency:    "package.json in the tarball has other dependencies than the registry shows",
	reasonManifestInstallScript: "package.json in the tarball has other install scripts than the registry shows",
	reasonManifestName:          "package.json in the tarball is of another package",
	reasonManifestRepository:    "package.json in the tarball claims another repository than the registry shows",
	reasonManifestScript:        "package.json in the tarball has other scripts than the registry shows",
	reasonManifestStripped:      "the registry shows more than package.json in the tarball holds; some tools strip it before packing, and nothing is hidden by that",
	reasonManifestTooLarge:      "the tarball holds more than assay is willing to read",
	reasonManifestUnreadable:    "package.json in the tarball cannot be read",
	reasonManifestVersion:       "package.json in the tarball is of another version",
	reasonNotInstalled:          "the package is not installed here",
	reasonTarballDamaged:        "the tarball cannot be unpacked",
	reasonNoAttestations:        "the registry has no attestations for this version",
	reasonNoCommonAlgorithm:     "the lockfile and the registry use different hash algorithms, so they cannot be compared",
	reasonNoExpectedPublisher:   "a registry without keys needs an expected publisher in the policy",
	reasonNoLockfile:            "no lockfile was given",
	reasonNoPublisher:           "there is no verified publisher",
	reasonNoTrustRoot:           "there is no trusted root to verify with",
	reasonNotAnnounced:          "the registry serves attestations that its version document does not announce",
	reasonNotApplicable:         "the question does not arise",
	reasonNotAsked:              "not asked for",
	reasonNotCollected:          "the evidence for it could not be collected",
	reasonNotDSSE:               "the bundle signs a file, not a statement",
	reasonNotDone:               "the check was not carried out",
	reasonNotProvenance:         "this attestation is not provenance",
	reasonNotVerified:           "the publish attestation does not verify; see the checks above",
	reasonOtherVersion:          "the registry served the evidence of another package or version",
	reasonPatchUnknown:          "yarn patches these files itself, and its patch is not at hand, so they were not compared; all others are those of the tarball",
	reasonPayloadType:           "the envelope does not hold an in-toto statement",
	reasonPredicateField:        "the statement lacks a field that its build type demands",
	reasonPredicateFormat:       "the statement's predicate breaks its format",
	reasonPredicateMismatch:     "the statement says something else of the build than the certificate",
	reasonPredicateType:         "the registry labels the attestation as another type than was signed",
	reasonPredicateUnknown:      "the statement's predicate is of a type that this version of assay does not know; a newer assay may",
	reasonPredicateUnreadable:   "the statement's predicate cannot be read; see predicate",
	reasonProvenanceAbsent:      "the registry serves attestations without the provenance among them",
	reasonPublishAbsent:         "the registry serves attestations without its own publish attestation among them",
	reasonPublishOther:          "the publish attestation is for another package or version",
	reasonPublishRegistry:       "the publish attestation is for another registry",
	reasonPublisherUnexpected:   "the publisher is not the one that the policy names",
	reasonPublishersDiffer:      "two provenance attestations of this version name different publishers",
	reasonRefBranch:             "built from a branch",
	reasonRefComment:            "built on a comment event, which strangers can cause",
	reasonRefOdd:                "built from neither a branch nor a tag",
	reasonRefOtherTag:           "built from a tag that does not name this version",
	reasonRefPullRequest:        "built from a pull request",
	reasonRefSnapshot:           "built from a branch that does not look like a release branch",
	reasonRefTag:                "built from the tag of this version",

	reasonRegistryIntegrityFormat: "the registry's integrity cannot be read",
	reasonRepositoryAbsent:        "the package claims no repository, so its publisher cannot be compared with anything; name the publisher that you expect with assay verify --repo",
	reasonRepositoryMismatch:      "the package claims another repository than the one it was built from",
	reasonRepositoryUnreadable:    "the repository that the package claims cannot be read",
	reasonResolvedElsewhere:       "the lockfile fetches this package from somewhere else than the registry",
	reasonResolvedInsecure:        "the lockfile fetches this package over plain HTTP; the integrity binds it all the same",
	reasonSignatureFormat:         "the registry's signature cannot be read",
	reasonSignatureInvalid:        "the registry's signature is not over this name, version and integrity",
	reasonSignatureMissing:        "the registry signs its packages and this one has no signature; a mirror or proxy in between may have left it out, and a registry that passes others' packages through may sign only some (declare that in the policy: registries: signs: partly)",
	reasonSignedByCertificate:     "a publish attestation has to be signed by a key of the registry, and a certificate signed this one",
	reasonSignedByKey:             "signed by a key of the registry, so there is no certificate",
	reasonSignsPartly:             "the registry is declared to sign only some of its packages, and this one has no signature",
	reasonSourceAbsent:            "the statement names no source repository or commit",
	reasonSourceMismatch:          "the statement names another source repository than the certificate",
	reasonStatementUnreadable:     "the statement cannot be read; see bundle-format",
	reasonSubjectCount:            "a statement has to be about exactly one package",
	reasonSubjectDigest:           "the statement is about other bytes than these",
	reasonSubjectDigestAbsent:     "the statement gives no sha512 of the package",
	reasonSubjectName:             "the statement is about another package or version",
	reasonTarballMismatch:         "the tarball's bytes are not those that the registry names",
	reasonTimeUnknown:             "the registry's key has expired since, and nothing says when this version was published; --strict-time asks the registry",
	reasonUnauthenticated:         "there is no network, and the cache was not written on this machine: give its key in ASSAY_CACHE_KEY, or run once with the network",
	reasonUnknownKeyBeside:        "a known key signed; so did one that is not known",
	reasonVersionAbsent:           "the registry does not have this version; it may have been removed",

	string(KeysNone):        "the registry has no keys, so nothing of it is signed",
	string(KeysUntrusted):   "only the project itself names this registry, so its keys are not believed; name it in your own .npmrc, with --registry, or in the policy",
	string(KeysUnavailable): "the registry's keys could not be had",

	// Transport faults, as the registry client names them.
	"not-found":      "the registry does not have it",
	"unauthorized":   "the registry refused access; check the token for it in .npmrc",
	"http-status":    "the registry answered with an error",
	"timeout":        "the registry did not answer in time",
	"connection":     "the registry could not be reached",
	"too-large":      "the registry sent more than assay is willing to read",
	"too-deep":       "the registry sent JSON nested deeper than assay is willing to read",
	"not-json":       "the registry sent something that is not JSON",
	"truncated":      "the registry's answer broke off",
	"redirect":       "the registry redirected somewhere that assay does not follow",
	"tls":            "the registry's TLS certificate does not verify",
	"canceled":       "it was interrupted",
	"invalid-url":    "the registry's address cannot be used",
	"offline":        "there is no network (--offline) and no evidence for it in the cache",
	"not-in-archive": "the evidence archive does not hold it: whoever made it did not ask for it",
}

// sentence is the message of a check that ended as o.
func sentence(id string, o outcome) string {
	s := sentences[o.reason]
	if b := bundleSentences[o.reason]; b != "" && ofBundles[id] {
		s = b
	}
	if o.sentence != "" {
		s = o.sentence
	}
	if s == "" && o.reason != "" {
		s = o.detail
		if s == "" {
			s = o.reason
		}
		return s
	}
	if s == "" {
		return holds[id]
	}
	if o.detail != "" {
		s += " (" + o.detail + ")"
	}
	return s
}
