package policy

// Recommended is the policy that `assay policy init` writes where nobody knows better: what a theft of an account
// or of a workflow looks like in the registry is denied or told, and what is merely not attested is not.
func Recommended() string { return recommended }

const recommended = `version: 1
mode: enforce            # observe: rule denials become warnings, for a week of looking on

# What the checks found. Nothing attests most packages, so that alone denies nothing.
default: {invalid: deny, unchecked: error, unsigned: deny, signed: warn}

identity: {no-repository: warn, self-hosted: warn, unpinned: warn}
drift: deny              # another publisher than the pinned one
downgrade: {line: deny, package: warn, quiet-after: 30d}   # provenance before, none now
min-age: {attested: 24h, unattested: 72h, except: [advisory-fix]}
manifest-change: warn    # new install script, binding.gyp, dependency or command
burst: warn              # several versions or release lines at once, a new account after a long silence
sources: {git: warn, url: deny, file: allow, other-host: deny}
unbound: warn            # the lockfile has no integrity for it
expired-key: note
`
