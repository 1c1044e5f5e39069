// Verifies Sigstore bundles with @sigstore/verify, in the version that npm carries and in a newer one. In:
// {trustedRoot, keys: {hint: PEM}, bundles: {name: bundle}} on stdin. Out: for each verifier its package and version and,
// by name, an empty text or why it refuses the bundle.
'use strict'
const { createRequire } = require('node:module')
const path = require('node:path')

const input = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
const answer = ['@sigstore/verify', '@sigstore/verify-next'].map((name) => {
  const file = path.join(__dirname, 'node_modules', name, 'package.json')
  const near = createRequire(file) // a verifier has the bundle reader of its own version
  const { Verifier, toSignedEntity, toTrustMaterial } = near('./dist/index.js')
  const { bundleFromJSON } = near('@sigstore/bundle')
  const { TrustedRoot } = near('@sigstore/protobuf-specs')
  const { crypto } = near('@sigstore/core')
  const keys = (hint) => ({
    publicKey: crypto.createPublicKey(input.keys[hint]),
    validFor: () => true,
  })
  const results = {}
  for (const [what, bundle] of Object.entries(input.bundles)) {
    results[what] = ''
    try {
      const trust = toTrustMaterial(TrustedRoot.fromJSON(input.trustedRoot), keys)
      new Verifier(trust).verify(toSignedEntity(bundleFromJSON(bundle)))
    } catch (err) {
      results[what] = `${err.code ? err.code + ': ' : ''}${err.message}` || 'refused'
    }
  }
  return { package: '@sigstore/verify', version: require(file).version, results }
})
process.stdout.write(JSON.stringify(answer))
