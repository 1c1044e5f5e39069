// Package npm is npm's vocabulary: package names and versions, integrity strings, package URLs,
// repository fields, registry keys and .npmrc configuration, each parsed as npm 11 parses it and
// compared as a verifier has to compare it.
//
// Everything here is a value. Nothing reads a file, the environment, the clock or the network: callers
// hand over bytes, and [ParseConfig] is told what the environment holds. All input is taken as hostile:
// sizes are bounded, malformed text is an error and never a panic, and nothing that merely resembles a
// trusted name is normalised into one.
//
// Values are immutable after parsing and safe for concurrent use.
package npm
