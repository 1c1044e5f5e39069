package audit

import (
	"context"
	"slices"
	"strings"

	"assay/internal/budget"
	"assay/internal/evidence"
	"assay/internal/verify"
)

// places finds the targets of a run by where they are installed, and by name.
type places struct {
	at    map[placeKey]*Target
	named map[placeKey][]installation // place is a name
}

type placeKey struct{ dir, place string }

type installation struct {
	place  string
	target *Target
}

// placed returns the targets, each knowing all of them.
func placed(targets []Target) []Target {
	targets = slices.Clone(targets)
	all := &places{at: make(map[placeKey]*Target, len(targets)), named: make(map[placeKey][]installation, len(targets))}
	for i := range targets {
		t := &targets[i]
		t.all = all
		for _, place := range t.Places {
			all.at[placeKey{t.Dir, place}] = t
			for _, name := range t.names(place) {
				key := placeKey{t.Dir, name}
				all.named[key] = append(all.named[key], installation{place, t})
			}
		}
	}
	return targets
}

// names are those that a package at a place may be found under: its own, and where it has another one there, that.
func (t *Target) names(place string) []string {
	const modules = "/node_modules/"
	names := []string{t.Package.ID.Name}
	if i := strings.LastIndex("/"+place, modules); i >= 0 {
		if alias := place[i+len(modules)-1:]; alias != names[0] {
			names = append(names, alias)
		}
	}
	return names
}

// from finds the dependency that a package finds under a name from one of its places.
func (p *places) from(t *Target, place, name string) (where string, found *Target) {
	if t.Resolve == nil {
		return "", nil
	}
	if where = t.Resolve(place, name); where == "" {
		return "", nil
	}
	return where, p.at[placeKey{t.Dir, where}]
}

// relatives returns the target with what other packages of the run have that may explain why its files on disk
// are not its tarball's: binaries for each platform lie in optional dependencies, and an install script puts one
// in the place of a command, as esbuild's does, or moves it there, as bun's does. It returns nil where there is
// nothing to explain, or nothing that could.
func (r *Runner) relatives(ctx context.Context, t *Target, out *verify.Outcome) *Target {
	if t.all == nil || t.lenders != nil || t.takers != nil {
		return nil
	}
	i := slices.IndexFunc(out.Checks, func(c verify.Result) bool { return c.ID == "installed-files" })
	if i < 0 || out.Checks[i].Status != verify.Fail {
		return nil
	}
	var optional []string
	switch out.Checks[i].Reason {
	case "files-changed":
		own := r.verified(ctx, t)
		if own == nil {
			return nil
		}
		optional = own.OptionalDependencies()
	case "files-missing":
	default:
		return nil
	}
	related := *t
	for _, place := range t.Places {
		for _, name := range optional {
			where, lender := t.all.from(t, place, name)
			if lender == nil || lender == t || !t.exists(where) {
				continue // as those for other platforms
			}
			if tarball := r.verified(ctx, lender); tarball != nil {
				related.lenders = append(related.lenders, evidence.Relative{Name: name, Files: tarball.Files})
			}
		}
		if taker, ok := r.taker(ctx, t, place); ok {
			related.takers = append(related.takers, taker)
		}
	}
	if related.lenders == nil && related.takers == nil {
		return nil
	}
	return &related
}

// taker reads the commands, as they are on disk, of the package that asks for this one, if it does so as an
// optional dependency. Of several the one counts that the path to this one leads over.
func (r *Runner) taker(ctx context.Context, t *Target, place string) (evidence.Relative, bool) {
	if len(t.Path) < 2 {
		return evidence.Relative{}, false
	}
	asks := t.Path[len(t.Path)-2]
	for _, by := range t.all.named[placeKey{t.Dir, asks}] {
		at, taker := by.place, by.target
		if taker == t || !taker.exists(at) {
			continue
		}
		for _, name := range t.names(place) {
			if found, _ := t.all.from(taker, at, name); found != place {
				continue
			}
			tarball := r.verified(ctx, taker)
			if tarball == nil || !slices.Contains(tarball.OptionalDependencies(), name) {
				continue
			}
			read := taker.read(at, tarball)
			files := map[string]evidence.File{}
			for _, command := range tarball.Commands() {
				if f, ok := read.Files[command]; ok {
					files[command] = f
				}
			}
			if len(files) > 0 {
				return evidence.Relative{Name: asks, Files: files}, true
			}
		}
	}
	return evidence.Relative{}, false
}

// verified fetches a target's tarball and returns it, with its files, if it is the one that the registry and the
// lockfile name and nothing about the package is invalid; else nil.
func (r *Runner) verified(ctx context.Context, t *Target) *evidence.Tarball {
	ctx, release := budget.With(ctx)
	defer release()
	rt := r.registry(ctx, t.Package.Registry)
	ev := r.o.Collector.Collect(ctx, evidence.Request{
		ID: t.Package.ID, Registry: t.Package.Registry,
		Tarball: func(document []byte) (string, []string) { return r.tarball(t, document) },
	})
	alone := *t
	alone.Dir = "" // what lies on disk of it is its own row's
	out := r.verify(&alone, ev, rt, rt.options)
	if ev.Tarball == nil || ev.Tarball.Files == nil {
		return nil
	}
	held := slices.ContainsFunc(out.Checks, func(c verify.Result) bool { return c.ID == "tarball-integrity" && c.Status == verify.Pass })
	if !held || out.Verdict == verify.Invalid || out.Verdict == verify.Unchecked {
		return nil
	}
	return ev.Tarball
}
