package audit

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"assay/internal/budget"
	"assay/internal/evidence"
	"assay/internal/verify"
)

// places finds the targets of a run by where they are installed.
type places struct{ at map[placeKey]*Target }

type placeKey struct{ dir, location string }

// placed returns the targets, each knowing all of them.
func placed(targets []Target) []Target {
	targets = slices.Clone(targets)
	all := &places{at: make(map[placeKey]*Target, len(targets))}
	for i := range targets {
		t := &targets[i]
		t.all = all
		for _, location := range t.Locations {
			all.at[placeKey{t.Dir, location}] = t
		}
	}
	return targets
}

// from finds the dependency that Node.js would find under a name from a package at a location: the nearest that
// is listed.
func (p *places) from(dir, location, name string) (where string, t *Target) {
	for base := location; ; {
		where = strings.TrimPrefix(base+"/node_modules/"+name, "/")
		if t := p.at[placeKey{dir, where}]; t != nil {
			return where, t
		}
		if base == "" {
			return "", nil
		}
		i := strings.LastIndex("/"+base, "/node_modules/")
		base = base[:max(0, i-1)]
	}
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
	for _, location := range t.Locations {
		for _, name := range optional {
			where, lender := t.all.from(t.Dir, location, name)
			if lender == nil || lender == t || !onDisk(t.Dir, where) {
				continue // as those for other platforms
			}
			if tarball := r.verified(ctx, lender); tarball != nil {
				related.lenders = append(related.lenders, evidence.Relative{Name: name, Files: tarball.Files})
			}
		}
		if taker, ok := r.taker(ctx, t, location); ok {
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
func (r *Runner) taker(ctx context.Context, t *Target, location string) (evidence.Relative, bool) {
	const modules = "/node_modules/"
	at := strings.LastIndex("/"+location, modules)
	if at < 0 || len(t.Path) < 2 {
		return evidence.Relative{}, false
	}
	name := location[at+len(modules)-1:]
	asks := t.Path[len(t.Path)-2]
	where, taker := t.all.from(t.Dir, location, asks)
	if taker == nil || taker == t || !onDisk(t.Dir, where) {
		return evidence.Relative{}, false
	}
	if found, _ := t.all.from(t.Dir, where, name); found != location {
		return evidence.Relative{}, false
	}
	tarball := r.verified(ctx, taker)
	if tarball == nil || !slices.Contains(tarball.OptionalDependencies(), name) {
		return evidence.Relative{}, false
	}
	place := evidence.ReadInstalled(where, filepath.Join(t.Dir, filepath.FromSlash(where)), tarball, taker.Listed)
	files := map[string]evidence.File{}
	for _, command := range tarball.Commands() {
		if f, ok := place.Files[command]; ok {
			files[command] = f
		}
	}
	return evidence.Relative{Name: asks, Files: files}, len(files) > 0
}

func onDisk(dir, location string) bool {
	if !filepath.IsLocal(location) {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(location)))
	return err == nil
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
