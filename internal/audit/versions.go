package audit

import (
	"context"
	"sync"

	"assay/internal/npm"
	"assay/internal/policy"
)

// Versions returns what the registry says of all versions of packages, one answer for each id in its order: claims,
// none of them verified. Each package is asked for once.
func (r *Runner) Versions(ctx context.Context, ids []npm.ID, registries []string) []*policy.History {
	type key struct{ name, registry string }
	var mu sync.Mutex
	answers := map[key]func() *policy.History{}
	list := make([]*policy.History, len(ids))
	r.each(len(ids), func(i int) {
		mu.Lock()
		k := key{ids[i].Name, registries[i]}
		ask := answers[k]
		if ask == nil {
			ask = sync.OnceValue(func() *policy.History {
				return r.claims(ctx, &policy.Subject{ID: ids[i], Registry: registries[i]})
			})
			answers[k] = ask
		}
		mu.Unlock()
		list[i] = ask()
	})
	return list
}
