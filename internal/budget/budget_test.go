package budget_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"assay/internal/budget"
)

func TestHolder(t *testing.T) {
	pool, other := budget.NewPool(2), budget.NewPool(1)
	a, b, c := budget.NewHolder(), budget.NewHolder(), budget.NewHolder()
	for range 2 { // the second time it has its place already
		if !a.Has(pool) {
			t.Fatal("there is no place")
		}
	}
	if !b.Has(pool) || !a.Has(other) || c.Has(pool) || pool.Taken() != 2 {
		t.Fatalf("%d taken", pool.Taken())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Wait(ctx, pool); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := a.Wait(t.Context(), pool); err != nil { // at once: it has one
		t.Error(err)
	}
	c.Share(a)
	a.Release()
	if pool.Taken() != 2 || other.Taken() != 1 {
		t.Error("what is shared was given back by one of two")
	}
	c.Share(b) // it has one already
	b.Drop()
	if pool.Taken() != 1 {
		t.Errorf("%d taken", pool.Taken())
	}
	b.Has(pool)
	a.Share(c) // released
	a.Join(c)
	if a.Has(pool) {
		t.Error("a released holder has a place")
	}
	b.Release()
	c.Release()
	c.Release()
	if pool.Taken() != 0 || other.Taken() != 0 {
		t.Errorf("%d and %d taken", pool.Taken(), other.Taken())
	}
	// After its release a holder keeps nothing, even if it waited meanwhile.
	if err := c.Wait(t.Context(), pool); err != nil || pool.Taken() != 0 {
		t.Error(err, pool.Taken())
	}
	var none *budget.Holder
	none.Share(a)
	a.Share(none)
	a.Join(none)
	none.Release()
	if budget.From(t.Context()) != nil {
		t.Error("a holder from nowhere")
	}
	with, release := budget.With(t.Context())
	budget.From(with).Has(pool)
	release()
	if pool.Taken() != 0 {
		t.Error("not released")
	}
}

// Who waits for an answer lends its place to whoever gets that answer.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := budget.NewPool(1)
		lender, asker := budget.NewHolder(), budget.NewHolder()
		lender.Has(pool)
		var got atomic.Bool
		go func() {
			if err := asker.Wait(t.Context(), pool); err != nil {
				t.Error(err)
			}
			got.Store(true)
		}()
		synctest.Wait()
		if got.Load() {
			t.Fatal("did not wait")
		}
		asker.Join(lender)
		synctest.Wait()
		if !got.Load() {
			t.Fatal("still waits")
		}
		lender.Release()
		if pool.Taken() != 1 {
			t.Error("the lender took the place along")
		}
		asker.Drop()
		if pool.Taken() != 0 || !asker.Has(pool) {
			t.Error("the place did not come back")
		}
		asker.Release()
	})
}

// TestNoCircle lets packages that grow at random ask for answers, some of them the same, and share them.
func TestNoCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pools := []*budget.Pool{budget.NewPool(2), budget.NewPool(1), budget.NewPool(2), budget.NewPool(1)}
		type flight struct {
			room    *budget.Holder
			waiting []*budget.Holder
			done    chan struct{}
		}
		var mu sync.Mutex
		flights := map[int]*flight{}
		ask := func(h *budget.Holder, question, from, to int) {
			mu.Lock()
			f := flights[question]
			if f != nil {
				f.waiting = append(f.waiting, h)
				f.room.Join(h)
				mu.Unlock()
				<-f.done
				return
			}
			f = &flight{room: budget.NewHolder(), waiting: []*budget.Holder{h}, done: make(chan struct{})}
			f.room.Join(h)
			flights[question] = f
			mu.Unlock()
			time.Sleep(rand.N(time.Second))
			for _, p := range pools[from:to] {
				if err := f.room.Wait(t.Context(), p); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(rand.N(time.Second))
			mu.Lock()
			delete(flights, question)
			for _, w := range f.waiting {
				w.Share(f.room)
			}
			f.room.Release()
			mu.Unlock()
			close(f.done)
		}
		var group sync.WaitGroup
		for range 40 {
			group.Go(func() {
				for range 20 {
					h := budget.NewHolder()
					ask(h, rand.N(10), 0, rand.N(3))
					ask(h, 100+rand.N(10), 0, rand.N(3))
					ask(h, 200+rand.N(3), 2, 2+rand.N(3))
					time.Sleep(rand.N(time.Second))
					h.Release()
				}
			})
		}
		group.Wait() // a circle would be reported as a deadlock
		for i, p := range pools {
			if p.Taken() != 0 {
				t.Errorf("pool %d: %d places were not given back", i, p.Taken())
			}
		}
	})
}
