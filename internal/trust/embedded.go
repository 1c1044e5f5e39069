package trust

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// embeddedFiles holds the start of trust: see refresh_embedded.go for where it comes from. Nothing of it is
// read before it is needed.
//
//go:embed embedded/source.json embedded/earlier.json embedded/trusted_root.json embedded/keys.json embedded/roots/*.json
var embeddedFiles embed.FS

// embeddedRoots returns the embedded TUF roots in ascending order of version. The last one is where refreshes
// start; the earlier ones serve evidence that earlier releases collected.
var embeddedRoots = sync.OnceValue(func() [][]byte {
	entries, err := embeddedFiles.ReadDir("embedded/roots")
	if err != nil {
		panic(err) // part of the program
	}
	var roots [][]byte
	for _, e := range entries {
		roots = append(roots, embeddedFile("roots/"+e.Name()))
	}
	slices.SortFunc(roots, func(a, b []byte) int {
		va, _ := rootVersion(a)
		vb, _ := rootVersion(b)
		return int(va - vb)
	})
	return roots
})

// embeddedEarlier lists, by name, the digests of files that earlier releases carried: evidence that they collected
// rests on those.
var embeddedEarlier = sync.OnceValue(func() map[string][]string {
	var earlier map[string][]string
	if err := json.Unmarshal(embeddedFile("earlier.json"), &earlier); err != nil {
		panic(fmt.Sprintf("embedded trust: %v", err)) // part of the program
	}
	return earlier
})

// digestOf is the hex SHA-256 of data.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func embeddedFile(name string) []byte {
	data, err := embeddedFiles.ReadFile("embedded/" + name)
	if err != nil {
		panic(err) // part of the program
	}
	return data
}

// embeddedState is the embedded start as if it came from TUF. Names other than the two that are embedded are
// absent from it.
var embeddedState = sync.OnceValue(func() *state {
	roots := embeddedRoots()
	var root struct {
		Signed struct {
			Version int64     `json:"version"`
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	var src struct {
		Package   string    `json:"package"`
		Version   string    `json:"version"`
		Published time.Time `json:"published"`
	}
	for _, f := range []struct {
		data []byte
		into any
	}{{roots[len(roots)-1], &root}, {embeddedFile("source.json"), &src}} {
		if err := json.Unmarshal(f.data, f.into); err != nil {
			panic(fmt.Sprintf("embedded trust: %v", err)) // part of the program
		}
	}
	keys, _ := KeysTarget(NPMRegistry)
	return &state{
		files: map[string][]byte{rootTarget: embeddedFile("trusted_root.json"), keys: embeddedFile("keys.json")},
		roles: []Role{{"root", root.Signed.Version, root.Signed.Expires.UTC()}},
		source: Source{
			Origin:   OriginEmbedded,
			Location: strings.Join([]string{src.Package, src.Version}, "@"),
			At:       src.Published.UTC(),
		},
	}
})

// Embedded reports whether the two files are byte for byte those that this program carries. Either may be nil,
// which leaves it out of the comparison; two nils are not embedded.
func Embedded(rootJSON, keysJSON []byte) bool {
	if rootJSON == nil && keysJSON == nil {
		return false
	}
	return (rootJSON == nil || string(rootJSON) == string(embeddedFile("trusted_root.json"))) &&
		(keysJSON == nil || string(keysJSON) == string(embeddedFile("keys.json")))
}
