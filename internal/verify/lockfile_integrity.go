package verify

import (
	"bytes"
	"net/url"
	"strings"

	"assay/internal/npm"
)

// checkLockfileIntegrity holds when the lockfile and the registry name the same bytes, and the lockfile
// fetches them from this registry. The strongest algorithm that both know decides, and every hash that the
// lockfile gives for it must be the registry's: a package manager accepts any one of several
// (npm/ssri, match), so a second hash is a second package. SHA-1 alone ties nothing down.
func checkLockfileIntegrity(f *facts) outcome {
	p := f.in.Package
	if !p.Lockfile {
		return skip(reasonNoLockfile)
	}
	if f.docProblem != "" {
		return f.withoutDocument()
	}
	if o := f.checkResolved(); o.status == Fail {
		return o
	}
	if p.Integrity == "" {
		return skip(reasonIntegrityAbsent)
	}
	locked, err := npm.ParseIntegrity(p.Integrity)
	if err != nil || len(locked) == 0 {
		return fail(reasonIntegrityFormat, f.doc.Dist.Integrity, p.Integrity)
	}
	if f.integrityProblem != nil {
		return fail(reasonRegistryIntegrityFormat, p.Integrity, f.doc.Dist.Integrity)
	}
	known := f.registryIntegrity
	if sha1 := f.shasum(); sha1 != nil && len(known.Find("sha1")) == 0 {
		known = append(known[:len(known):len(known)], npm.Hash{Algorithm: "sha1", Digest: sha1})
	}
	algorithm, ok := npm.StrongestCommon(locked, known)
	if !ok {
		return undecided(reasonNoCommonAlgorithm, "lockfile "+p.Integrity+", registry "+known.String())
	}
	for _, h := range locked.Find(algorithm) {
		if !contains(known.Find(algorithm), h.Digest) {
			return fail(reasonIntegrityMismatch, known.String(), p.Integrity)
		}
	}
	if algorithm == "sha1" {
		return skip(reasonIntegrityWeak)
	}
	return f.checkResolved()
}

func contains(hashes []npm.Hash, digest []byte) bool {
	for _, h := range hashes {
		if bytes.Equal(h.Digest, digest) {
			return true
		}
	}
	return false
}

// shasum is the registry's SHA-1, nil if there is none.
func (f *facts) shasum() []byte {
	hashes, err := npm.ParseIntegrity("sha1-" + base64OfHex(f.doc.Dist.Shasum))
	if err != nil || len(hashes) != 1 {
		return nil
	}
	return hashes[0].Digest
}

// checkResolved compares the URL that the lockfile fetches from with this registry's tarball of this name
// and version. npm's public host counts as this registry, under yarn's name for it too; no other foreign host does.
func (f *facts) checkResolved() outcome {
	resolved := f.in.Package.Resolved
	if resolved == "" {
		return pass() // npm's omit-lockfile-registry-resolved: the registry is asked
	}
	want := f.in.Package.Registry + "/" + npm.TarballPath(f.in.Package.ID)
	got, err := url.Parse(resolved)
	if err != nil || got.Scheme != "https" && got.Scheme != "http" || got.Host == "" || got.User != nil {
		return fail(reasonResolvedElsewhere, want, resolved)
	}
	registry, err := url.Parse(f.in.Package.Registry)
	if err != nil {
		return fail(reasonResolvedElsewhere, want, resolved)
	}
	ownHost := strings.EqualFold(got.Host, registry.Host)
	if upstream, err := url.Parse(f.in.Options.Upstream); err == nil && upstream.Host != "" && strings.EqualFold(got.Host, upstream.Host) {
		registry, ownHost = upstream, true
	}
	if !ownHost && !npm.IsPublicHost(got.Host) {
		return fail(reasonResolvedElsewhere, want, resolved)
	}
	if f.isTarball(got, registry, ownHost) {
		if got.Scheme == "http" && registry.Scheme == "https" {
			return passWith(reasonResolvedInsecure, want, resolved)
		}
		return pass()
	}
	return fail(reasonResolvedElsewhere, want, resolved)
}

// isTarball reports whether got is where the registry keeps the tarball: npm's own layout, or, on the
// registry's own host, what the version document says (some registries lay their files out differently).
func (f *facts) isTarball(got, registry *url.URL, ownHost bool) bool {
	if got.RawQuery != "" {
		return false
	}
	path := tarballPath(got)
	base := ""
	if ownHost {
		base = strings.TrimSuffix(registry.Path, "/")
	}
	if path == base+"/"+npm.TarballPath(f.in.Package.ID) {
		return true
	}
	stated, err := url.Parse(f.doc.Dist.Tarball)
	if err != nil || stated.User != nil || stated.RawQuery != "" {
		return false
	}
	if !strings.EqualFold(stated.Host, registry.Host) && !npm.IsPublicHost(stated.Host) {
		return false
	}
	return tarballPath(stated) == path
}

// tarballPath is the path with an encoded scope separator decoded, as registries take both.
func tarballPath(u *url.URL) string {
	return strings.NewReplacer("%2f", "/", "%2F", "/").Replace(u.EscapedPath())
}
