package verify

import (
	"fmt"
	"strings"

	"assay/internal/npm"
	"assay/internal/publisher"
)

// checkSourceRepository holds when every provenance statement names the source repository and commit that
// its certificate names, all provenances are by one publisher, and the repository is the one that the
// package claims.
func checkSourceRepository(f *facts) outcome {
	o := f.each(func(a *attestation) outcome {
		if a.kind != kindProvenance {
			return skip(reasonNotProvenance)
		}
		if a.byKey() || a.cert == nil {
			return skip(reasonBundleUnreadable)
		}
		if a.predicate == nil {
			return skip(reasonPredicateUnreadable) // the predicate check says why
		}
		if o := compareSources(a.predicate.sources, a.cert); o.status != Pass {
			return o
		}
		return f.compareClaim(a.cert)
	})
	if o.status == Fail || o.status == Error {
		return o
	}
	if differ := f.publishersDiffer(); differ.status != Pass {
		return differ
	}
	return o
}

// publishersDiffer compares the publishers of all provenance attestations.
func (f *facts) publishersDiffer() outcome {
	var first *publisher.Publisher
	for _, a := range f.of(kindProvenance) {
		p := a.identity()
		if p == nil {
			continue
		}
		if first == nil {
			first = p
			continue
		}
		if !first.SameSource(p) {
			return fail(reasonPublishersDiffer, describe(first), describe(p))
		}
	}
	return pass()
}

func describe(p *publisher.Publisher) string {
	return fmt.Sprintf("%s@%s by %s (%s)", p.Repository, p.Commit, p.Workflow, p.Ref)
}

// source is a repository at a commit, as a statement names it.
type source struct {
	field  string // where it stands, for a message
	uri    string // "git+https://github.com/o/r@refs/heads/main"; "" where the field has none
	commit string // hex; "" where the field has none
}

// compareSources compares every source with the certificate's. At least one must name the repository and
// at least one the commit.
func compareSources(sources []source, c *publisher.Certificate) outcome {
	want, err := npm.ParseRepositoryURI(sourceRepository(c))
	if err != nil {
		return fail(reasonSourceMismatch, "a repository", sourceRepository(c))
	}
	repositories, commits := 0, 0
	for _, s := range sources {
		if s.uri != "" {
			got, err := npm.ParseRepositoryURI(s.uri)
			if err != nil {
				return fail(reasonSourceMismatch, want.String(), s.uri).with(s.field)
			}
			if equal, onlyCase := want.Match(got); !equal && !onlyCase {
				return fail(reasonSourceMismatch, want.String(), got.String()).with(s.field)
			}
			repositories++
		}
		if s.commit != "" {
			if !strings.EqualFold(s.commit, sourceCommit(c)) || sourceCommit(c) == "" {
				return fail(reasonCommitMismatch, sourceCommit(c), s.commit).with(s.field)
			}
			commits++
		}
	}
	if repositories == 0 || commits == 0 {
		return fail(reasonSourceAbsent, "a source repository and its commit", "absent")
	}
	return pass()
}
