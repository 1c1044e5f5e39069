package registry

import (
	"context"
	"sync"
	"sync/atomic"

	"assay/internal/budget"
)

// flights lets calls that ask the same thing at the same time share one answer. Nothing is kept once the
// answer has arrived: that would be a cache, and how long an answer holds is not this package's question.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

type flight struct {
	done    chan struct{}
	waiting int
	cancel  context.CancelFunc
	resp    *Response
	err     error

	room    *budget.Holder   // what the body takes up
	callers []*budget.Holder // theirs, who keep that while the body is of use to them
}

// share returns what ask returns for key, running it once for all who wait for the same key. The run
// belongs to nobody in particular: it goes on while at least one caller waits, whoever came first.
func (f *flights) share(ctx context.Context, key string, joined *int64, ask func(context.Context) (*Response, error)) (*Response, error) {
	f.mu.Lock()
	fl := f.open[key]
	if fl == nil {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel, room: budget.NewHolder()}
		run = budget.Under(run, fl.room) // not the first caller's own, who may leave before the others
		if f.open == nil {
			f.open = make(map[string]*flight)
		}
		f.open[key] = fl
		go func() {
			defer cancel()
			resp, err := ask(run)
			f.mu.Lock()
			defer f.mu.Unlock()
			fl.resp, fl.err = resp, err
			for _, h := range fl.callers {
				h.Share(fl.room)
			}
			fl.room.Release()
			if f.open[key] == fl {
				delete(f.open, key)
			}
			close(fl.done)
		}()
	} else {
		atomic.AddInt64(joined, 1)
	}
	fl.waiting++
	if h := budget.From(ctx); h != nil {
		fl.callers = append(fl.callers, h)
		fl.room.Join(h)
	}
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.resp, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel()
		if f.open[key] == fl { // a later caller must not join a run that was called off
			delete(f.open, key)
		}
	}
	return nil, ctx.Err()
}
