package trust

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errAbsent says that TUF does not list a file that this program cannot do without.
var errAbsent = errors.New("TUF does not list it")

// current returns the state to use: the cached one where it is fresh, else a refreshed one, else the last
// verified one, else the embedded one. The *RefreshError is set where a refresh was due and did not happen or
// failed; the state's source tells it too. The error is set where there is no state to fall back to.
func (o *Options) current(ctx context.Context, names []string, force bool) (*state, *RefreshError, error) {
	cached := o.cached(names)
	if !force && o.fresh(cached, names) {
		return o.use(cached, nil), nil, nil
	}
	if o.Offline {
		return o.fallBack(cached, names, &RefreshError{o.TUFURL, reasonOffline, errors.New("no network request is allowed")})
	}

	if failed := o.paused(); failed != nil && !force {
		return o.fallBack(cached, names, failed)
	}

	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	unlock, err := o.lock(ctx)
	if err := caller.Err(); err != nil {
		return nil, nil, err
	}
	if err != nil {
		return o.fallBack(cached, names, o.refreshError(fmt.Errorf("waiting for another process to end its refresh: %w", err)))
	}
	defer unlock()
	// Another process may have refreshed in the meantime.
	if again := o.cached(names); again.at.After(cached.at) {
		if cached = again; o.fresh(cached, names) {
			return o.use(cached, nil), nil, nil
		}
	}
	st, err := o.refresh(ctx, o.start(), cached.state, names)
	if err == nil {
		err = o.complete(st, names)
	}
	if err := caller.Err(); err != nil {
		return nil, nil, err
	}
	if err != nil {
		failed := o.refreshError(err)
		o.pause(failed)
		return o.fallBack(cached, names, failed)
	}
	now := cacheEntry{state: st, at: o.Now(), notes: cached.notes}
	if err := o.keep(now); err != nil {
		now.notes = append(now.notes, Note{NoteCacheUnwritable, err.Error()})
	}
	return o.use(now, nil), nil, nil
}

// start is the newest TUF root that is trusted from the outset.
func (o *Options) start() []byte {
	if o.TUFRoot != nil {
		return o.TUFRoot
	}
	roots := embeddedRoots()
	return roots[len(roots)-1]
}

// complete checks that st has, of names, what cannot be done without. Only npm's public keys in the
// public-good repository are known to be there; other registries' keys need not be.
func (o *Options) complete(st *state, names []string) error {
	npmKeys, _ := KeysTarget(NPMRegistry)
	for _, name := range names {
		if m, ok := st.missing[name]; ok {
			if m.err != nil {
				return m.err
			}
			return fmt.Errorf("target file %s: not at hand", name)
		}
		if st.files[name] == nil && (name == rootTarget || name == npmKeys && o.TUFRoot == nil) {
			return fmt.Errorf("target file %s: %w", name, errAbsent)
		}
	}
	return nil
}

// usable reports whether a cached state may be used if nothing better is to be had. A cache that ends at an
// older TUF root than the program carries is older than the program: the embedded files are better.
func (o *Options) usable(c cacheEntry, names []string) bool {
	if c.state == nil || o.complete(c.state, names) != nil {
		return false
	}
	start, err := rootVersion(o.start())
	return err == nil && c.lastRoot >= start
}

// fresh reports whether a cached state is good without asking TUF again: refreshed within MaxAge, not in the
// future, and nothing in it expired. The time of the refresh is only what the cache says, so that whoever
// writes there can put off a refresh; but only until the timestamp role expires, within days.
func (o *Options) fresh(c cacheEntry, names []string) bool {
	if !o.usable(c, names) {
		return false
	}
	now := o.Now()
	age := now.Sub(c.at)
	return age >= 0 && age < o.MaxAge && !slices.ContainsFunc(c.state.roles, func(r Role) bool { return now.After(r.Expires) })
}

// fallBack finds what to use without TUF's current state.
func (o *Options) fallBack(c cacheEntry, names []string, failed *RefreshError) (*state, *RefreshError, error) {
	switch {
	case o.fresh(c, names): // an update was wanted before its time
		return o.use(c, nil), failed, nil
	case o.usable(c, names):
		return o.use(c, failed), failed, nil
	case o.TUFRoot == nil:
		st := *embeddedState()
		st.source = st.source.aged(o.Now()).stale(failed)
		st.notes = c.notes
		return &st, failed, nil
	}
	return nil, nil, failed
}

// use makes a state of a cached or refreshed one. A nil failed means that it is fresh.
func (o *Options) use(c cacheEntry, failed *RefreshError) *state {
	st := *c.state
	st.notes = c.notes
	st.source = Source{Origin: OriginTUF, Location: o.TUFURL, At: c.at.UTC()}.aged(o.Now())
	if failed != nil {
		st.source.Origin = OriginCache
		st.source = st.source.stale(failed)
	}
	return &st
}

func (s Source) aged(now time.Time) Source {
	if !s.At.IsZero() {
		s.Age = max(0, now.Sub(s.At))
	}
	return s
}

func (s Source) stale(failed *RefreshError) Source {
	s.Stale, s.Reason, s.Detail = true, failed.Reason, failed.Error()
	return s
}
