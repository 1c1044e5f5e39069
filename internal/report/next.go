package report

import (
	"strings"

	"assay/internal/policy"
	"assay/internal/verify"
)

// advice says what to do about a reason where its sentence does not say it already: what to do, and after a
// line break a command to type. {pkg} stands for name@version, {lockfile} for the lockfile.
var advice = map[string]string{
	// Something contradicts the claim.
	"attestation-stripped": "Keep the version you had. Ask the maintainers, and look at what is served:\nassay verify {pkg}",
	"integrity-mismatch":   "See who changed the lockfile entry, and ask the maintainers which bytes are theirs:\ngit log -p -- {lockfile}",
	"resolved-elsewhere":   "If nobody meant to move it, remove the entry from {lockfile} and install it again from the registry. If it is a mirror of yours, declare it in the policy (registries: upstream).",
	"integrity-format":     "Remove the entry from {lockfile} and install the package again.",
	"tarball-mismatch":     "Do not install it. Fetch it again from another network: if the bytes still differ, tell the registry.",
	"signature-missing":    "Do not install it from this registry. See what is served:\nassay verify {pkg}",
	"signature-invalid":    "Do not install it. Ask again from another network or without your proxy: if it still fails, tell the registry and the maintainers.",
	"key-unknown":          "If the registry has new keys, refresh what is trusted and ask again; until then do not install it. From when it is:\nassay trust show",
	"key-expired":          "Do not install it: whoever holds an expired key may have signed it. Ask the registry.",
	"key-not-yet-valid":    "Do not install it before the registry has explained it.",
	"repository-mismatch":  "If the project moved or was renamed, ask the maintainers to correct `repository` in package.json. Otherwise treat it as published by somebody else.",
	"publisher-unexpected": "If the new publisher is the right one, name it in the policy. Otherwise keep the version you had.",
	"issuer-not-accepted":  "Keep the version you had unless you know who runs this issuer.",
	"subject-name":         "Do not install it: the attestation was made for another package. Tell the registry.",
	"subject-digest":       "Do not install it: somebody may have put other bytes in the place of those that were built. Tell the maintainers and the registry.",
	"publishers-differ":    "Do not install it before the maintainers have said which of the two is theirs.",

	// Nobody could tell.
	"timeout":             "Run it again: what was answered is kept. If it goes on, raise fetch-timeout in .npmrc or lower --concurrency.",
	"connection":          "Check the network and the proxy settings, then run it again: what was answered is kept.",
	"http-status":         "Run it again later; a lower --concurrency asks less at once.",
	"unauthorized":        "Put a token that may read this registry into your own .npmrc (npm login), then run it again.",
	"truncated":           "Run it again. If it goes on, a proxy on the way may be cutting answers off.",
	"not-json":            "Something on the way may be answering in the registry's place, such as a login page: try another network.",
	"redirect":            "Name the registry that is really meant: --registry URL, or in your own .npmrc.",
	"tls":                 "If your network opens TLS, set cafile in your own .npmrc (the project's does not count).",
	"too-large":           "See what is served:\nassay verify {pkg}",
	"too-deep":            "See what is served:\nassay verify {pkg}",
	"offline":             "Run it once with a network: what is answered then is kept in the cache.",
	"not-found":           "Check the name, the version and the registry.",
	"version-absent":      "Check the name and the version. If it was there once, find out why it was removed before you go on using a copy of it.",
	"keys-unavailable":    "Run it again, or give the registry's keys: --registry-keys FILE.",
	"no-trust-root":       "See what is trusted:\nassay trust show",
	"build-type-unknown":  "Update assay, then run it again.",
	"predicate-unknown":   "Update assay, then run it again.",
	"media-type-unknown":  "Update assay, then run it again.",
	"announced-absent":    "Look at it again later:\nassay verify {pkg}",
	"no-common-algorithm": "Remove the entry from {lockfile} and install the package again, so that it holds a sha512.",
}

// checkAdvice says what to do about a failed check whose reason has no advice of its own.
var checkAdvice = map[string]string{
	"lockfile-integrity": "See who changed the lockfile entry:\ngit log -p -- {lockfile}",
	"tarball-integrity":  "Do not install it. Fetch it again from another network: if the bytes still differ, tell the registry.",
	"installed-files":    "Delete what lies there, a directory or an archive in yarn's cache, and install the package again. If it changes again, find out which script does it.",
	"registry-signature": "Do not install it. Ask again from another network: if it still fails, tell the registry.",
	"evidence-complete":  "Do not install it before you know why. See what is served:\nassay verify {pkg}",
	"manifest":           "Do not install it: what you would run is not what the registry shows. Look into it:\nnpm pack {pkg}",
	"predicate":          "Do not install it: tell the maintainers, whose build may have been tampered with.",
	"source-repository":  "Do not install it before the maintainers have said which repository is theirs.",
	"workflow-identity":  "Do not install it before you know who built it.",
}

// ruleAdvice says what to do about a rule that spoke.
var ruleAdvice = map[string]string{
	"publisher":          "If the publisher is the right one, correct what was demanded. Otherwise do not install it.",
	"identity-unchecked": "Look at who built it, then name the repository that you expect:\nassay verify {pkg} --repo OWNER/REPO",
	"unsigned":           "Ask whoever runs the registry whether it can sign; or declare it in the policy (registries: signs).",
	"source":             "Ask for it by version from a registry, or say in the policy what you accept (sources:).",
	"drift":              "Find out whether the project has moved or changed how it publishes. If that is so, accept the new publisher:\nassay pin --update {name}",
	"unpinned":           "Look at who built it. If that is the right one, accept it:\nassay pin",
	"downgrade-line":     "Stay on the version before until the maintainers have said why this one was published without provenance.",
	"downgrade-package":  "Look at who published it and why without provenance, as the maintainers may have said.",
	"min-age":            "Stay on the version before until then. If it mends something urgent, except it by name and version (min-age: except:).",
	"manifest-change":    "Read what is new before you install it:\nnpm pack {pkg}",
	"burst":              "Wait a day before you install it: by then others have looked.",
	"ratchet":            "Stay on the version before, or accept this one with a waiver that ends (waivers:).",
	"waiver-expired":     "Mend what it excuses, or give it a later date.",
}

// A step is what to do next: in words, and a command to type, "" if there is none.
type step struct{ text, command string }

// next returns what to do about a check that ended as c.
func next(c verify.Result, spec, file string) step {
	text := advice[c.Reason]
	if c.Status == verify.Fail && text == "" {
		text = checkAdvice[c.ID]
		if text == "" {
			text = "Do not install it. See every check:\nassay verify {pkg}"
		}
	}
	return fillIn(text, spec, file)
}

// nextGiven is the step where a check failed over a file that the user brought.
func nextGiven(spec, file string) step {
	return fillIn("Do not install it before you know who made the file. Compare with what the registry serves:\nassay verify {pkg}", spec, file)
}

// nextRule returns what to do about a rule that spoke; place is where it was written, "" for a built-in one;
// attested says that it is verified who built the package.
func nextRule(f policy.Finding, place, spec, file string, attested bool) step {
	if f.Rule == "publisher" && !attested {
		return step{text: "Use a version that has provenance, or do without this demand."}
	}
	if text := ruleAdvice[f.Rule]; text != "" {
		return fillIn(text, spec, file)
	}
	if place != "" && (f.Level == policy.Deny || f.Level == policy.Error) {
		return step{text: "Use a version that meets the rule, accept this one with a waiver that ends (waivers:), or change the rule at " + place + "."}
	}
	return step{}
}

// fillIn puts names into advice. A name stands in a command only where no shell and no option parser could take
// it for anything but a name.
func fillIn(text, spec, file string) step {
	if !pasteable(spec) {
		spec = "NAME@VERSION"
	}
	text, command, _ := strings.Cut(text, "\n")
	if !pasteable(file) {
		if strings.Contains(command, "{lockfile}") {
			text, command = strings.TrimSuffix(text, ":")+".", ""
		}
		file = "the lockfile"
	}
	r := strings.NewReplacer("{pkg}", spec, "{name}", nameOf(spec), "{lockfile}", file)
	return step{r.Replace(text), r.Replace(command)}
}

// forMany is the step for several packages, the first of which is spec.
func (s step) forMany(spec string) step {
	command := strings.ReplaceAll(s.command, spec, "NAME@VERSION")
	if rest, ok := strings.CutSuffix(command, " --update "+nameOf(spec)); ok {
		command = rest + " --update NAME ..."
	}
	return step{strings.ReplaceAll(s.text, spec, "NAME@VERSION"), command}
}

// nameOf is the NAME of NAME@VERSION.
func nameOf(spec string) string {
	if i := strings.LastIndexByte(spec, '@'); i > 0 {
		return spec[:i]
	}
	return spec
}

// typed is the command with the flags that the run was given, so that it asks the same registry and trusts the
// same root.
func (s step) typed(flags []string) string {
	command := s.command
	if !strings.HasPrefix(command, "assay verify ") {
		return command
	}
	for _, f := range flags {
		command += " " + quoted(f)
	}
	return command
}

// quoted is a word as a shell takes it for that word.
func quoted(s string) string {
	if pasteable(strings.TrimLeft(strings.NewReplacer(":", "", "=", "").Replace(s), "-")) {
		return s
	}
	return "'" + strings.ReplaceAll(Escape(s), "'", `'\''`) + "'"
}

// pasteable reports whether s may stand in a command that a reader copies: one plain word, no option.
func pasteable(s string) bool {
	if s == "" || s[0] == '-' || len(s) > 300 {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("@/._+-", c) >= 0) {
			return false
		}
	}
	return true
}
