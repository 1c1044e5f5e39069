package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assay/internal/budget"
	"assay/internal/npm"
)

// large answers every question with one MiB and counts.
func large(t *testing.T, asked *atomic.Int32) string {
	body := `"` + strings.Repeat("x", 1<<20) + `"`
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if strings.Contains(r.URL.Path, "small") {
			io.WriteString(w, "{}")
			return
		}
		io.WriteString(w, body)
	})
}

// free fails the test if a place is still taken.
func free(t *testing.T, c *Client) {
	t.Helper()
	for _, p := range []*budget.Pool{c.answers.medium, c.answers.large, c.bodies.medium, c.bodies.large} {
		if n := p.Taken(); n != 0 {
			t.Errorf("%d places were not given back", n)
		}
	}
	if len(c.places) != 0 {
		t.Error("places for requests were not given back")
	}
}

func version(i int) npm.ID { return npm.ID{Name: "left", Version: fmt.Sprintf("1.0.%d", i)} }

// A package with a large body keeps its place until it is released, and has it for its other answers too.
func TestBudget(t *testing.T) {
	var asked atomic.Int32
	base := large(t, &asked)
	c := newClient(t, Options{MaxInFlight: 1}) // the worst case: who waits must not keep the one place for requests
	var releases []func()
	for i := range mediumPlaces {
		ctx, release := budget.With(t.Context())
		releases = append(releases, release)
		if _, err := c.Document(ctx, base, version(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Attestations(ctx, base, version(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.answers.medium.Taken(); n != mediumPlaces {
		t.Fatalf("%d places taken", n)
	}
	ctx, release := budget.With(t.Context())
	defer release()
	late := make(chan error)
	go func() {
		_, err := c.Document(ctx, base, version(100))
		late <- err
	}()
	// Without a place nothing large arrives, with a budget or without, and everything small does.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Document(short, base, version(101)); KindOf(err) != Timeout {
		t.Errorf("got %v", err)
	}
	if _, err := c.Document(t.Context(), base, npm.ID{Name: "small", Version: "1.0.0"}); err != nil {
		t.Error(err)
	}
	select {
	case err := <-late:
		t.Fatalf("a fifth large answer arrived: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	releases[0]()
	if err := <-late; err != nil {
		t.Error(err)
	}
	for _, release := range releases {
		release()
	}
	if n := c.answers.medium.Taken(); n != 1 {
		t.Errorf("%d places taken", n)
	}
	release()
	free(t, c)
}

// Packages that ask the same question lend each other their places, share the answer, and leak nothing.
func TestBudgetShared(t *testing.T) {
	var asked atomic.Int32
	hold := make(chan struct{})
	body := `"` + strings.Repeat("x", 1<<20) + `"`
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if strings.Contains(r.URL.Path, "/attestations/") {
			<-hold
		}
		io.WriteString(w, body)
	})
	c := newClient(t, Options{})
	// One package without a place asks for what those that have all the places then wait for.
	first, releaseFirst := budget.With(t.Context())
	var group sync.WaitGroup
	same := npm.ID{Name: "same", Version: "1.0.0"}
	ask := func(ctx context.Context) {
		group.Go(func() {
			if _, err := c.Attestations(ctx, base, same); err != nil {
				t.Error(err)
			}
		})
	}
	ask(first)
	releases := []func(){releaseFirst}
	for i := range mediumPlaces {
		ctx, release := budget.With(t.Context())
		releases = append(releases, release)
		if _, err := c.Document(ctx, base, version(i)); err != nil {
			t.Fatal(err)
		}
		ask(ctx)
	}
	for c.Counters().Shared < mediumPlaces {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	group.Wait()
	if n := c.answers.medium.Taken(); n != mediumPlaces {
		t.Errorf("%d places taken", n)
	}
	for _, release := range releases {
		release()
	}
	free(t, c)

	// A caller who leaves takes nothing along, and an answer that fails keeps nothing.
	hold = make(chan struct{})
	ctx, release := budget.With(t.Context())
	left, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Attestations(left, base, same); KindOf(err) != Canceled {
		t.Error(err)
	}
	release()
	close(hold)
	body = `"` + strings.Repeat("x", 1<<20)
	ctx, release = budget.With(t.Context())
	if _, err := c.Document(ctx, base, version(200)); KindOf(err) != NotJSON {
		t.Error(err)
	}
	if c.answers.medium.Taken() != 0 {
		t.Error("a body that is no JSON kept its place")
	}
	release()
	for range 1000 {
		if c.answers.medium.Taken() == 0 && len(c.places) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	free(t, c)
}
