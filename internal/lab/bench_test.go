package lab_test

import (
	"testing"

	"assay/internal/lab"
)

// BenchmarkGenerate makes the world that audits are measured on: 1,500 packages, 300 of them attested.
func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		l, err := lab.New(lab.Options{Now: lab.Fixed(clock)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Generate(lab.WorldOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
