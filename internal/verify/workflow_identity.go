package verify

import (
	"slices"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/publisher"
)

// Fulcio began to write its extensions one after the other. A certificate signed before the day given here
// may lack them; from that day on an absence means that the certificate is not what it seems. The days are
// those of the first npm provenance known to have them.
var (
	extensionsSince  = time.Date(2023, 4, 18, 0, 0, 0, 0, time.UTC)
	visibilitySince  = time.Date(2023, 8, 18, 0, 0, 0, 0, time.UTC)
	tokenSubjectFrom = time.Date(2026, 7, 24, 0, 0, 0, 0, time.UTC)
)

// checkWorkflowIdentity holds when the certificate of every provenance was issued to a job of an accepted
// CI service, its parts fit one another, and its source repository is the one that the package claims. A
// further attestation signed by a certificate needs an accepted issuer too.
func checkWorkflowIdentity(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		if a.bundle == nil {
			return skip(reasonBundleUnreadable)
		}
		if a.byKey() {
			return skip(reasonSignedByKey)
		}
		if a.verified_.Leaf == nil {
			return skip(reasonBundleUnreadable)
		}
		if a.certErr != nil {
			return fail(reasonIdentityFormat, "", "").with(a.certErr.Error())
		}
		if o := f.checkIssuer(a.cert); o.status != Pass {
			return o
		}
		if a.kind == kindOther {
			return pass()
		}
		if o := checkExtensions(a.cert, a.verified_.SignedAt); o.status != Pass {
			return o
		}
		return f.compareClaim(a.cert)
	})
}

// checkIssuer compares the issuer exactly: a longer URL that begins alike is another authority.
func (f *facts) checkIssuer(c *publisher.Certificate) outcome {
	issuer := c.Issuer()
	if issuer == publisher.GitHubIssuer || issuer == publisher.GitLabIssuer || slices.Contains(f.in.Options.Issuers, issuer) && issuer != "" {
		if c.Has(publisher.ExtIssuer) && c.Has(publisher.ExtIssuerV1) && c.Get(publisher.ExtIssuerV1) != issuer {
			return fail(reasonExtensionMismatch, issuer, c.Get(publisher.ExtIssuerV1)).with(publisher.ExtIssuerV1.String())
		}
		return pass()
	}
	return fail(reasonIssuerNotAccepted, publisher.GitHubIssuer+" or "+publisher.GitLabIssuer, issuer)
}

// required are the extensions that Fulcio writes for every CI job: a request without the claim behind one
// of them is refused (sigstore/fulcio, pkg/identity/ciprovider/principal.go).
var required = []publisher.Extension{
	publisher.ExtIssuer, publisher.ExtSignerURI, publisher.ExtSignerDigest, publisher.ExtRunner, publisher.ExtRepository,
	publisher.ExtCommit, publisher.ExtRef, publisher.ExtRepositoryID, publisher.ExtOwner, publisher.ExtOwnerID,
	publisher.ExtConfigURI, publisher.ExtConfigDigest, publisher.ExtTrigger, publisher.ExtRun,
}

// checkExtensions compares the certificate's parts with one another.
func checkExtensions(c *publisher.Certificate, signedAt time.Time) outcome {
	modern := false
	for _, e := range required {
		modern = modern || c.Has(e)
	}
	if !modern && !signedAt.IsZero() && signedAt.Before(extensionsSince) {
		return checkOldExtensions(c)
	}
	for _, e := range required {
		if c.Get(e) == "" {
			return fail(reasonExtensionMissing, e.String(), "absent")
		}
	}
	if c.Get(publisher.ExtVisibility) == "" && !signedAt.Before(visibilitySince) {
		return fail(reasonExtensionMissing, publisher.ExtVisibility.String(), "absent")
	}
	if c.Get(publisher.ExtTokenSubject) == "" && !signedAt.Before(tokenSubjectFrom) {
		return fail(reasonExtensionMissing, publisher.ExtTokenSubject.String(), "absent")
	}
	if c.SubjectURI != c.Get(publisher.ExtSignerURI) {
		return fail(reasonExtensionMismatch, c.Get(publisher.ExtSignerURI), c.SubjectURI).with("subject alternative name and " + publisher.ExtSignerURI.String())
	}
	repository := c.Source(publisher.ExtRepository)
	for _, e := range []publisher.Extension{publisher.ExtConfigURI, publisher.ExtRun} {
		if uri := c.Source(e); !publisher.Under(uri, repository) {
			return fail(reasonExtensionMismatch, "a URI under "+repository, uri).with(e.String())
		}
	}
	if owner := c.Source(publisher.ExtOwner); !publisher.Under(repository, owner) {
		return fail(reasonExtensionMismatch, "a repository of "+owner, repository).with(publisher.ExtRepository.String())
	}
	config, ok := publisher.SplitWorkflow(c.Get(publisher.ExtConfigURI))
	if !ok || !strings.EqualFold(config.Repository, repository) {
		return fail(reasonExtensionMismatch, "a workflow of "+repository, c.Get(publisher.ExtConfigURI)).with(publisher.ExtConfigURI.String())
	}
	if _, ok := publisher.SplitWorkflow(c.SubjectURI); !ok {
		return fail(reasonIdentityFormat, "the URI of a workflow at a ref", c.SubjectURI)
	}
	if o := checkHosts(c, config); o.status != Pass {
		return o
	}
	return checkDeprecated(c)
}

// checkHosts compares the host of every URI with the one that the issuer speaks for: GitHub's issuer for
// github.com, GitLab.com's for gitlab.com, and an issuer that the policy names for its own host and no other.
func checkHosts(c *publisher.Certificate, config publisher.WorkflowRef) outcome {
	host := c.Host()
	if host == "" {
		return fail(reasonIssuerNotAccepted, "the https URL of an issuer", c.Issuer())
	}
	if host == "https://github.com" && !strings.HasPrefix(config.Path, ".github/workflows/") {
		return fail(reasonExtensionMismatch, "a file under .github/workflows/", config.Path).with(publisher.ExtConfigURI.String())
	}
	for _, uri := range []string{
		c.Source(publisher.ExtRepository), c.SubjectURI, c.Get(publisher.ExtConfigURI), c.Source(publisher.ExtRun), c.Source(publisher.ExtOwner),
	} {
		if !publisher.Under(uri, host) {
			return fail(reasonExtensionMismatch, "a URI under "+host, uri)
		}
	}
	return pass()
}

// checkDeprecated compares GitHub's deprecated extensions, where present, with those that replaced them.
func checkDeprecated(c *publisher.Certificate) outcome {
	pairs := []struct {
		old, new publisher.Extension
		prefix   string
	}{
		{publisher.ExtGitHubTrigger, publisher.ExtTrigger, ""},
		{publisher.ExtGitHubSHA, publisher.ExtCommit, ""},
		{publisher.ExtGitHubRepo, publisher.ExtRepository, "https://github.com/"},
		{publisher.ExtGitHubRef, publisher.ExtRef, ""},
	}
	for _, p := range pairs {
		if c.Has(p.old) && p.prefix+c.Get(p.old) != c.Get(p.new) {
			return fail(reasonExtensionMismatch, c.Get(p.new), p.prefix+c.Get(p.old)).with(p.old.String())
		}
	}
	return pass()
}

// checkOldExtensions judges a certificate from before the extensions were introduced, of which only GitHub's
// exist: repository, commit, ref and trigger have to be there, and the subject a workflow on github.com.
func checkOldExtensions(c *publisher.Certificate) outcome {
	if c.Issuer() != publisher.GitHubIssuer {
		return fail(reasonIssuerNotAccepted, publisher.GitHubIssuer, c.Issuer())
	}
	for _, e := range []publisher.Extension{publisher.ExtGitHubTrigger, publisher.ExtGitHubSHA, publisher.ExtGitHubRepo, publisher.ExtGitHubRef} {
		if c.Get(e) == "" {
			return fail(reasonExtensionMissing, e.String(), "absent")
		}
	}
	signer, ok := publisher.SplitWorkflow(c.SubjectURI)
	if !ok || !publisher.Under(signer.Repository, "https://github.com") || !strings.HasPrefix(signer.Path, ".github/workflows/") {
		return fail(reasonIdentityFormat, "the URI of a workflow on github.com", c.SubjectURI)
	}
	return pass()
}

// sourceRepository is the certificate's source repository, by its own extension or, in old certificates,
// by GitHub's.
func sourceRepository(c *publisher.Certificate) string {
	if c.Has(publisher.ExtRepository) || c.Issuer() != publisher.GitHubIssuer || c.Get(publisher.ExtGitHubRepo) == "" {
		return c.Source(publisher.ExtRepository)
	}
	return "https://github.com/" + c.Get(publisher.ExtGitHubRepo)
}

// sourceCommit is the certificate's commit, likewise.
func sourceCommit(c *publisher.Certificate) string {
	if c.Has(publisher.ExtCommit) {
		return c.Get(publisher.ExtCommit)
	}
	return c.Get(publisher.ExtGitHubSHA)
}

// compareClaim compares the certificate's source repository with the one that the package names, or, for a
// registry without keys, with the publisher that the policy names in its place.
func (f *facts) compareClaim(c *publisher.Certificate) outcome {
	built := sourceRepository(c)
	if f.keyless() {
		return f.compareExpected(c)
	}
	if f.claim.err != nil {
		return fail(reasonRepositoryUnreadable, built, f.claim.raw).with(f.claim.err.Error())
	}
	if !f.claim.present {
		if f.docProblem != "" && (f.in.Evidence.Tarball == nil || f.in.Evidence.Tarball.Manifest == nil) {
			return outcome{status: Skip, reason: reasonRepositoryAbsent, sentence: "no package.json is at hand, so the publisher was compared with no claim"}
		}
		return skip(reasonRepositoryAbsent)
	}
	source, err := npm.ParseRepositoryURI(built)
	if err != nil {
		return fail(reasonRepositoryMismatch, f.claim.repository.String(), built)
	}
	equal, onlyCase := f.claim.repository.Match(source)
	switch {
	case equal:
		return pass()
	case onlyCase:
		return passWith(reasonLetterCase, f.claim.repository.String(), built)
	}
	return fail(reasonRepositoryMismatch, f.claim.repository.String(), built)
}

// compareExpected compares the certificate with the publisher that the policy names. That has to be somebody: a
// repository, or a repository's number at its issuer. An issuer or a file name alone is anybody's.
func (f *facts) compareExpected(c *publisher.Certificate) outcome {
	e := f.in.Options.Expected
	if !e.NamesSomebody() {
		return undecided(reasonNoExpectedPublisher, "")
	}
	if e.Repository != "" && !strings.EqualFold(e.Repository, sourceRepository(c)) {
		return fail(reasonPublisherUnexpected, e.Repository, sourceRepository(c))
	}
	for _, p := range []struct{ want, got string }{
		{e.Issuer, c.Issuer()},
		{e.RepositoryID, c.Get(publisher.ExtRepositoryID)},
		{e.Workflow, publisher.New(c, time.Time{}, 0).Workflow},
	} {
		if p.want != "" && p.want != p.got {
			return fail(reasonPublisherUnexpected, p.want, p.got)
		}
	}
	return pass()
}
