package lab_test

import (
	"encoding/json"
	"fmt"
	"time"

	"assay/internal/lab"
)

// One package with provenance by a workflow that pushes to another repository than the package claims, everything
// else being right: what a check of repositories must catch, and nothing else may.
func Example() {
	l, err := lab.New(lab.Options{Seed: "example", Now: lab.Fixed(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))})
	if err != nil {
		panic(err)
	}
	p, err := l.Publish(lab.Release{
		Package: lab.Package{Name: "left", Version: "1.0.0", Manifest: map[string]any{"repository": "github:acme/left"}},
		CI:      lab.GitHub("evil/left"),
	})
	if err != nil {
		panic(err)
	}
	var doc struct{ Repository struct{ URL string } }
	if err := json.Unmarshal(p.Document, &doc); err != nil {
		panic(err)
	}
	fmt.Println(doc.Repository.URL)
	fmt.Println(p.Provenance.Leaf.URIs[0])
	// Output:
	// git+https://github.com/acme/left.git
	// https://github.com/evil/left/.github/workflows/release.yml@refs/heads/main
}
