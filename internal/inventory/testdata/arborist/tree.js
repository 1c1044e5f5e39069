// Prints, one JSON object a line, what npm's own arborist makes of the lockfile in each directory named
// on standard input: its nodes with their flags and edges. The first argument is arborist's folder.
const Arborist = require(process.argv[2])
const calcDepFlags = require(process.argv[2] + '/lib/calc-dep-flags.js')
const resetDepFlags = require(process.argv[2] + '/lib/reset-dep-flags.js')
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)

const edges = node => Object.fromEntries([...(node.target || node).edgesOut.values()].map(e =>
  [e.name, { kind: e.type, to: e.to ? e.to.target.location : null }]))

const main = async () => {
  for (const dir of lines) {
    const tree = await new Arborist({ path: dir }).loadVirtual()
    // As before an installation: flags from the graph, not from the lockfile.
    resetDepFlags(tree)
    calcDepFlags(tree)
    const nodes = {}
    for (const node of tree.inventory.values()) {
      nodes[node.location] = {
        link: node.isLink,
        name: node.packageName,
        version: node.version,
        dev: node.dev,
        optional: node.optional,
        devOptional: node.devOptional,
        peer: node.peer,
        extraneous: node.extraneous,
        bundled: node.inDepBundle,
        workspace: node.isWorkspace,
        edges: edges(node),
      }
    }
    console.log(JSON.stringify({ dir, nodes }))
  }
}
main()
