package evidence

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"assay/internal/budget"
	"assay/internal/npm"
)

// A Response is what a registry answered with success.
type Response struct {
	URL    string
	Status int
	ETag   string    // as received; "" for none
	Body   []byte    // exact bytes after content decoding
	At     time.Time // zero: now
}

// A Client asks npm registries. R is its own type of response; a registry is a base URL without a trailing
// slash. Every refusal is an error, a 404 too. It bounds sizes and times, retries, and is safe for
// concurrent use.
type Client[R any] interface {
	Document(ctx context.Context, registry string, id npm.ID) (R, error)
	Attestations(ctx context.Context, registry string, id npm.ID) (R, error)
	Keys(ctx context.Context, registry string) (R, error)
	Packument(ctx context.Context, registry, name string) (R, error)
	// Advisories asks which of the versions, by package name, the registry's advisories name.
	Advisories(ctx context.Context, registry string, versions map[string][]string) (R, error)
	// TarballFrom calls fn with the bytes of the file that the registry's document or a lockfile names as the
	// package's, again from the start if a connection breaks. An error of fn ends it and is returned.
	TarballFrom(ctx context.Context, registry, name, url string, fn func(io.Reader) error) error
}

// A Fetcher is the client that a [Collector] asks.
type Fetcher interface{ Client[Response] }

// FetcherFor makes a fetcher of a client, given how to read its responses.
func FetcherFor[R any](c Client[R], read func(R) Response) Fetcher { return &fetcher[R]{c, read} }

type fetcher[R any] struct {
	client Client[R]
	read   func(R) Response
}

func (f *fetcher[R]) answer(r R, err error) (Response, error) {
	if err != nil {
		return Response{}, err
	}
	return f.read(r), nil
}

func (f *fetcher[R]) Document(ctx context.Context, registry string, id npm.ID) (Response, error) {
	return f.answer(f.client.Document(ctx, registry, id))
}

func (f *fetcher[R]) Attestations(ctx context.Context, registry string, id npm.ID) (Response, error) {
	return f.answer(f.client.Attestations(ctx, registry, id))
}

func (f *fetcher[R]) Keys(ctx context.Context, registry string) (Response, error) {
	return f.answer(f.client.Keys(ctx, registry))
}

func (f *fetcher[R]) Packument(ctx context.Context, registry, name string) (Response, error) {
	return f.answer(f.client.Packument(ctx, registry, name))
}

func (f *fetcher[R]) Advisories(ctx context.Context, registry string, versions map[string][]string) (Response, error) {
	return f.answer(f.client.Advisories(ctx, registry, versions))
}

func (f *fetcher[R]) TarballFrom(ctx context.Context, registry, name, url string, fn func(io.Reader) error) error {
	return f.client.TarballFrom(ctx, registry, name, url, fn)
}

// A Fault is what an error of a [Fetcher] means.
type Fault struct {
	Absent bool   // the registry answered that there is none (404, 410)
	Reason string // stable kebab-case code
	Status int    // HTTP status, 0 if unknown
	URL    string // what was asked, if known
}

// explain is the reading of errors where no other is given. It asks the error for what it can tell.
func explain(err error) Fault {
	var f Fault
	var known interface {
		Reason() string
		NotFound() bool
	}
	switch {
	case errors.As(err, &known):
		f.Reason, f.Absent = known.Reason(), known.NotFound()
	case errors.Is(err, context.DeadlineExceeded):
		f.Reason = "timeout"
	case errors.Is(err, context.Canceled):
		f.Reason = "canceled"
	default:
		f.Reason = "connection"
	}
	return f
}

// flights lets the first asker of a question ask it and the others wait for the answer.
type flights struct {
	mu  sync.Mutex
	now map[string]*flight
}

type flight struct {
	done      chan struct{}
	answer    Answer
	abandoned bool             // the asker's context ended, or it panicked
	waiting   []*budget.Holder // theirs, for whom the answer takes up memory as long as for the asker
}

// do returns what ask returns, which runs once for all that come with the same key meanwhile. Who waits
// stops when its own context ends; if the asker's context ended, one of those who waited asks again.
func (f *flights) do(ctx context.Context, key string, ask func() Answer) Answer {
	for {
		f.mu.Lock()
		running := f.now[key]
		if running == nil {
			break
		}
		if h := budget.From(ctx); h != nil {
			running.waiting = append(running.waiting, h)
		}
		f.mu.Unlock()
		select {
		case <-running.done:
			if !running.abandoned {
				return running.answer
			}
			if ctx.Err() != nil {
				return canceled(ctx)
			}
		case <-ctx.Done():
			return canceled(ctx)
		}
	}
	if f.now == nil {
		f.now = make(map[string]*flight)
	}
	mine := &flight{done: make(chan struct{}), abandoned: true}
	f.now[key] = mine
	f.mu.Unlock()
	defer func() { // also when ask panics: nobody must wait for ever
		f.mu.Lock()
		delete(f.now, key)
		waiting := mine.waiting // nobody finds it any more to add to it
		f.mu.Unlock()
		if !mine.abandoned {
			for _, h := range waiting {
				h.Share(budget.From(ctx))
			}
		}
		close(mine.done)
	}()
	mine.answer = ask()
	mine.abandoned = ctx.Err() != nil
	return mine.answer
}

func canceled(ctx context.Context) Answer {
	return Answer{State: Unavailable, Reason: explain(ctx.Err()).Reason, Detail: ctx.Err().Error()}
}
