// Package budget bounds how much memory large answers of a registry take while they are of use: from the
// moment an answer grows until the package it is about has its verdict, and not only while it is read.
//
// A [Pool] has places. What grows takes one of them into its [Holder], and gives it back when the holder is
// released. A holder has at most one place of a pool however many of its answers grow, so who has one never
// waits for a second. Where several pools are in play, everyone takes places in the same order. And whoever
// waits for an answer that somebody else is getting lends what it holds to that (see [Holder.Join]).
// So nobody waits in a circle.
package budget

import (
	"context"
	"sync"
)

// A Pool is a number of places. It is safe for concurrent use.
type Pool struct{ places chan struct{} }

// NewPool returns a pool of n places.
func NewPool(n int) *Pool { return &Pool{make(chan struct{}, n)} }

// Taken returns how many places are taken.
func (p *Pool) Taken() int { return len(p.places) }

// A place is one place taken, which several holders may have together; the last gives it back.
type place struct {
	pool    *Pool
	mu      sync.Mutex
	holders int
}

// join adds a holder. It is not ok if the last one has left already.
func (p *place) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders == 0 {
		return false
	}
	p.holders++
	return true
}

func (p *place) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders--; p.holders == 0 {
		<-p.pool.places
	}
}

// A Holder holds the places that one piece of work needs. A nil holder holds nothing and never will.
// It is safe for concurrent use.
type Holder struct {
	mu       sync.Mutex
	places   map[*Pool]*place
	lent     []*place      // others' places, good for what this holder gets for them
	news     chan struct{} // closed when something is lent
	released bool
}

// NewHolder returns a holder of nothing. It is to be released.
func NewHolder() *Holder { return &Holder{news: make(chan struct{})} }

// Release gives back what h holds, and all that it is given from now on.
func (h *Holder) Release() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	h.drop()
}

// Drop gives back what h holds. Unlike after Release it may take places again.
func (h *Holder) Drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop()
}

func (h *Holder) drop() {
	for _, p := range h.places {
		p.leave()
	}
	h.places = nil
}

// Has reports whether h has a place of a pool, or can have one at once; it then does.
func (h *Holder) Has(pool *Pool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.has(pool) {
		return true
	}
	select {
	case pool.places <- struct{}{}:
		h.take(pool)
		return true
	default:
		return false
	}
}

func (h *Holder) has(pool *Pool) bool {
	if h.places[pool] != nil {
		return true
	}
	for _, p := range h.lent {
		if p.pool == pool && !h.released && p.join() {
			h.put(p)
			return true
		}
	}
	return false
}

// take makes a place of what was put into the pool's channel.
func (h *Holder) take(pool *Pool) {
	if h.released || h.places[pool] != nil {
		<-pool.places
		return
	}
	h.put(&place{pool: pool, holders: 1})
}

func (h *Holder) put(p *place) {
	if h.places == nil {
		h.places = make(map[*Pool]*place)
	}
	h.places[p.pool] = p
}

// Wait waits until h has a place of a pool. Its error is ctx's.
func (h *Holder) Wait(ctx context.Context, pool *Pool) error {
	for {
		h.mu.Lock()
		has, news := h.has(pool), h.news
		h.mu.Unlock()
		if has {
			return nil
		}
		select {
		case pool.places <- struct{}{}:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.take(pool)
			return nil
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Join tells h that from is about to wait for what h is getting: what from holds now serves h as well.
func (h *Holder) Join(from *Holder) {
	if from == nil || h == from {
		return
	}
	from.mu.Lock()
	places := make([]*place, 0, len(from.places))
	for _, p := range from.places {
		places = append(places, p)
	}
	from.mu.Unlock()
	if len(places) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lent = append(h.lent, places...)
	close(h.news)
	h.news = make(chan struct{})
}

// Share lets h hold, too, what from holds: both have what it was taken for.
func (h *Holder) Share(from *Holder) {
	if h == nil || from == nil || h == from {
		return
	}
	from.mu.Lock()
	places := make([]*place, 0, len(from.places))
	for _, p := range from.places {
		if p.join() {
			places = append(places, p)
		}
	}
	from.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range places {
		if h.released || h.places[p.pool] != nil {
			p.leave()
		} else {
			h.put(p)
		}
	}
}

type contextKey struct{}

// With returns a context whose answers are held together until release is called, at the latest when
// nothing that came with it is of use any more. Answers that come with it must be asked for one after the
// other.
func With(ctx context.Context) (_ context.Context, release func()) {
	h := NewHolder()
	return Under(ctx, h), h.Release
}

// Under returns a context that carries h.
func Under(ctx context.Context, h *Holder) context.Context {
	return context.WithValue(ctx, contextKey{}, h)
}

// From returns the holder that ctx carries, nil for none.
func From(ctx context.Context) *Holder {
	h, _ := ctx.Value(contextKey{}).(*Holder)
	return h
}
