package trust

import (
	"cmp"
	"slices"
	"time"

	"assay/internal/npm"
)

// Kinds of [Disagreement].
const (
	// DisagreeUnknownKey: the endpoint has a key that TUF does not have. Nothing it signed counts.
	DisagreeUnknownKey = "unknown-key"
	// DisagreeAbsentKey: the endpoint lacks a key that TUF has.
	DisagreeAbsentKey = "absent-key"
	// DisagreeOtherKey: one id, two public keys.
	DisagreeOtherKey = "other-key"
	// DisagreeExpiry: the endpoint lets a key expire at another time than TUF does.
	DisagreeExpiry = "expiry"
)

// A Disagreement is one difference between the keys that TUF has for a registry and those that the registry's
// own endpoint serves. TUF wins; that they differ is worth telling.
type Disagreement struct {
	Kind     string `json:"kind"`
	KeyID    string `json:"keyid"`              // may be hostile text where it comes from the endpoint only
	TUF      string `json:"tuf,omitempty"`      // by kind: the key's id, or when it expires ("never" or RFC 3339, UTC)
	Endpoint string `json:"endpoint,omitempty"` // likewise
}

// Compare lists how the keys of a registry's endpoint differ from TUF's, sorted by key id. TUF gives each key
// once for each usage, the endpoint once for all: a key's expiry is compared with the latest that TUF has for
// signatures, since that is what the endpoint's date is about (npm/documentation
// about-registry-signatures.mdx). Starts are not compared: the endpoint has none.
func Compare(tuf, endpoint []npm.Key) []Disagreement {
	type view struct {
		key  npm.Key
		ends map[string]time.Time // by usage; zero: never
	}
	collect := func(keys []npm.Key) map[string]*view {
		byID := make(map[string]*view)
		for _, k := range keys {
			v := byID[k.ID]
			if v == nil {
				v = &view{key: k, ends: make(map[string]time.Time)}
				byID[k.ID] = v
			}
			if end, ok := v.ends[k.Usage]; !ok || !end.IsZero() && (k.End.IsZero() || k.End.After(end)) {
				v.ends[k.Usage] = k.End
			}
		}
		return byID
	}
	end := func(v *view) time.Time {
		for _, usage := range []string{"npm:signatures", ""} {
			if t, ok := v.ends[usage]; ok {
				return t
			}
		}
		for _, t := range v.ends {
			return t // of the one other usage
		}
		return time.Time{}
	}
	date := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.UTC().Format(time.RFC3339)
	}

	trusted, served := collect(tuf), collect(endpoint)
	var out []Disagreement
	for id, s := range served {
		t := trusted[id]
		switch {
		case t == nil:
			out = append(out, Disagreement{Kind: DisagreeUnknownKey, KeyID: id, Endpoint: npm.KeyID(s.key.Public)})
		case !s.key.Public.Equal(t.key.Public):
			out = append(out, Disagreement{DisagreeOtherKey, id, npm.KeyID(t.key.Public), npm.KeyID(s.key.Public)})
		case !end(s).Equal(end(t)):
			out = append(out, Disagreement{DisagreeExpiry, id, date(end(t)), date(end(s))})
		}
	}
	for id, t := range trusted {
		if served[id] == nil {
			out = append(out, Disagreement{Kind: DisagreeAbsentKey, KeyID: id, TUF: npm.KeyID(t.key.Public)})
		}
	}
	slices.SortFunc(out, func(a, b Disagreement) int { return cmp.Or(cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Kind, b.Kind)) })
	return out
}
