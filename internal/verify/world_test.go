package verify_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/npm"
	"assay/internal/sigstore"
	"assay/internal/verify"
)

// world is a lab with the trust that makes its evidence count.
type world struct {
	*lab.Lab
	t     testing.TB
	trust verify.Trust
}

// now is when the lab's packages are published, after every extension was introduced.
var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, at time.Time) *world {
	t.Helper()
	l, err := lab.New(lab.Options{Now: lab.Fixed(at), Seed: "verify"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Lab: l, t: t}
	w.trust.Root, err = sigstore.ParseTrustedRoot(l.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	w.readKeys()
	return w
}

// readKeys takes in the lab's registry keys as they are listed now.
func (w *world) readKeys() {
	w.t.Helper()
	keys, err := npm.ParseKeys(w.RegistryKeysTUF())
	if err != nil {
		w.t.Fatal(err)
	}
	w.trust.KeyState = verify.KeysKnown
	w.trust.Keys = nil
	for _, k := range keys {
		w.trust.Keys = append(w.trust.Keys, verify.RegistryKey{Key: k, Registries: []string{w.Registry()}})
	}
}

func (w *world) publish(r lab.Release) *lab.Published {
	w.t.Helper()
	if r.Package.Name == "" {
		r.Package.Name = "@acme/widget"
	}
	if r.Package.Version == "" {
		r.Package.Version = "1.2.3"
	}
	p, err := w.Publish(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// input is what a project that locked p would ask.
func (w *world) input(p *lab.Published) verify.Input {
	id := npm.ID{Name: p.Name, Version: p.Version}
	ev := &evidence.Evidence{ID: id, Registry: w.Registry(), Document: served(p.Document)}
	if p.Attestations != nil {
		ev.Attestations = served(p.Attestations)
	}
	return verify.Input{
		Package: verify.Package{
			ID: id, Registry: w.Registry(), Lockfile: true, Integrity: p.Integrity,
			Resolved: w.Registry() + "/" + npm.TarballPath(id),
		},
		Evidence: ev,
		Trust:    w.trust,
	}
}

func served(body []byte) evidence.Answer {
	return evidence.Answer{State: evidence.Served, Status: 200, Body: body}
}

// failing lists the IDs and reasons of rows with one of the statuses, as "id reason".
func failing(o *verify.Outcome, statuses ...verify.Status) string {
	var rows []string
	for _, c := range o.Checks {
		for _, s := range statuses {
			if c.Status == s {
				rows = append(rows, c.ID+" "+c.Reason)
			}
		}
	}
	return strings.Join(rows, ", ")
}

func row(t testing.TB, o *verify.Outcome, id string) verify.Result {
	t.Helper()
	for _, c := range o.Checks {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("there is no check %q", id)
	return verify.Result{}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func sri(sum []byte) string { return "sha512-" + base64.StdEncoding.EncodeToString(sum) }

func hexDigest(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
