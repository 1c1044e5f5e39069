package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/go-json-experiment/json"

	"assay/internal/npm"
)

// Packument answers for the full document of all versions of a package, once for all that ask meanwhile. cached says
// that the answer is an earlier run's, so that what came out since is not in it; with fresh, it never is.
//
// What is in a full document no signature covers. Bytes out of a cache that anybody may have written are therefore no
// answer, online or not.
func (c *Collector) Packument(ctx context.Context, registry, name string, fresh bool) (a Answer, cached bool) {
	req := &Request{ID: npm.ID{Name: name}, Registry: registry, Fresh: fresh}
	if c.archive != nil {
		a = c.archive.packument(ctx, c.big, registry, name)
	} else {
		ev := &Evidence{Authenticated: true}
		a = c.packument(ctx, req, ev)
		cached = ev.FromCache
		if !ev.Authenticated {
			a = Answer{State: Unavailable, Reason: "offline", Detail: offlineDetail, At: c.now().UTC()}
		}
	}
	if c.recorder != nil {
		c.recorder.packument(registry, name, a)
	}
	return a, cached
}

// Advisories answers for what a registry's advisories say of versions, by package name. Nothing of it is kept: it is
// today's word.
func (c *Collector) Advisories(ctx context.Context, registry string, versions map[string][]string) Answer {
	if c.archive != nil {
		return c.archive.advisories(ctx, c.big, registry, questionSum(versions))
	}
	a, _ := c.ask(func() (Response, error) { return c.fetcher.Advisories(ctx, registry, versions) })
	if c.recorder != nil {
		c.recorder.advisories(registry, questionSum(versions), a)
	}
	return a
}

// questionSum names a question, hex.
func questionSum(versions map[string][]string) string {
	sorted := make(map[string][]string, len(versions))
	for name, list := range versions {
		list = slices.Clone(list)
		slices.Sort(list)
		sorted[name] = list
	}
	b, err := json.Marshal(sorted, json.Deterministic(true))
	if err != nil {
		b = nil // never: names and versions are text
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
