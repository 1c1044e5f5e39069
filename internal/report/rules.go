package report

// ruleWords say what a check or a rule is about, for programs that show that beside their results.
type ruleWords struct {
	// severity is what a failure may come to, from 0.1 to 10.0 on the scale of CVSS, which forges sort by. It is
	// higher the closer the failure is to other bytes than those that were published.
	severity    string
	short, full string
}

// policyRules are the rules that every policy may have speak, in the order of docs/policy.md.
var policyRules = []string{
	"invalid", "unchecked", "unsigned", "signed", "identity-unchecked", "publisher", "unbound", "source",
}

// ruleAbout has every check of package verify and every rule of package policy. Rules that a project writes itself
// have an entry nowhere.
var ruleAbout = map[string]ruleWords{
	"lockfile-integrity":       {"9.1", "The lockfile names other bytes or another place than the registry.", "The integrity in the lockfile has to be the registry's, and the entry has to fetch from this registry."},
	"tarball-integrity":        {"9.5", "The tarball is not what the registry names.", "The tarball's bytes have to hash to the registry's integrity."},
	"installed-files":          {"9.5", "The files on disk are not those of the tarball.", "What lies in node_modules has to be what the tarball holds."},
	"registry-signature":       {"8.8", "The registry's signature does not hold.", "A key of the registry has to have signed this name, version and integrity."},
	"evidence-complete":        {"8.5", "Something that was announced or served before is not served.", "The version, its keys and its attestations have to be served as announced, and what was once served stays."},
	"bundle-format":            {"7.5", "An attestation breaks the format.", "An attestation has to be a Sigstore bundle of a known version with one signature."},
	"certificate-chain":        {"8.5", "The certificate is none of a trusted authority.", "The signing certificate has to chain to an authority of the trusted root."},
	"certificate-transparency": {"8.0", "The certificate was not logged.", "A known certificate transparency log has to have seen the signing certificate."},
	"signing-time":             {"8.0", "The signature was not made while the certificate was valid.", "A trusted time has to lie within the certificate's short validity."},
	"envelope-signature":       {"9.1", "The attestation's signature does not hold.", "The certificate's key has to have signed exactly this statement."},
	"transparency-log":         {"8.5", "The transparency log does not hold this attestation.", "The transparency log has to hold this certificate, statement and signature."},
	"subject":                  {"9.1", "The attestation is about another package or other bytes.", "The attestation has to be about exactly this package and these bytes."},
	"manifest":                 {"9.1", "The tarball's package.json is not what the registry shows.", "What the registry shows of scripts and dependencies has to be what the tarball holds."},
	"predicate":                {"8.0", "The provenance contradicts its certificate.", "What the provenance says of the build has to be what the certificate says."},
	"workflow-identity":        {"8.8", "Another repository built it than the package claims.", "The certificate has to be one of an accepted issuer for the repository that the package claims."},
	"source-repository":        {"8.8", "The statement names another source than the package claims.", "Statement, certificate and package have to name one repository and commit."},
	"publish-attestation":      {"8.0", "The registry's own attestation does not hold.", "The registry has to attest this version, name and digest with its key."},
	"release-ref":              {"3.0", "Built from a ref that releases are not usually built from.", "Says which ref a package was built from; it never fails."},

	"invalid":            {"8.5", "A package does not verify.", "A check failed: the evidence contradicts what the package claims."},
	"unchecked":          {"5.5", "A package could not be checked.", "A check could not be carried out, which speaks neither for the package nor against it."},
	"unsigned":           {"6.0", "Nobody signed a package.", "The package carries neither its registry's signature nor provenance."},
	"signed":             {"2.0", "Nobody attests who built a package.", "The package carries its registry's signature and no provenance. That is an absence, not a failure."},
	"identity-unchecked": {"3.5", "The publisher was compared with nothing.", "The package has provenance and claims no repository, so that nothing says whose it should be."},
	"publisher":          {"8.5", "The publisher is not the one demanded.", "The command or the policy demands a publisher, and the verified one is another, or there is none."},
	"unbound":            {"4.5", "Nothing ties the verdict to bytes.", "The lockfile names no digest of this package, and nobody looked at its tarball."},
	"source":             {"5.0", "A dependency comes from no registry.", "Nobody vouches for what is fetched from git, a URL or a file, or the entry was edited by hand."},

	// Rules that speak only where a policy asks for them.
	"critical":          {"7.5", "A critical package has no verified provenance.", "The policy requires provenance of this package."},
	"drift":             {"8.0", "The publisher changed.", "Another repository, owner, workflow or ref built this version than the one before it."},
	"downgrade-line":    {"8.0", "An earlier version of this release line had provenance.", "Within one release line, what once had provenance has to keep it."},
	"downgrade-package": {"6.0", "An earlier version of this package had provenance.", "What once had provenance should keep it."},
	"min-age":           {"5.0", "The version is younger than the policy accepts.", "A version has to have been public for a while, so that others could look at it."},
	"manifest-change":   {"6.0", "The manifest changed in what runs.", "A new install script, dependency or command since the last accepted version."},
	"burst":             {"6.0", "Many versions were published within minutes.", "A publisher that releases much at once, or after a long silence, may have been taken over."},
	"unpinned":          {"3.0", "No publisher is pinned.", "Nobody has accepted a publisher of this package yet."},
	"policy-changed":    {"5.0", "The policy, its waivers or pins are changed.", "A change of the rules takes effect once it is merged."},
	"self-hosted":       {"3.0", "It was built on a machine of the publisher's own.", "Who keeps such a machine can change what is built on it."},
	"expired-key":       {"3.0", "The key that signed it has expired since.", "Nothing says when this version was signed, so nobody can tell whether the key was valid then."},
	"history":           {"5.0", "The package's other versions could not be looked at.", "Rules about a package's history need the registry's list of its versions."},
	"forge":             {"6.0", "The forge contradicts the build.", "The commit is on no protected branch, or the run did not succeed."},
	"ratchet":           {"6.0", "Something is worse than at the base.", "Nothing may become worse than what the project used before."},
	"waiver-expired":    {"4.0", "A waiver has run out.", "What it excused counts again."},
}
