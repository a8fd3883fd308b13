package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/observer-targets/internal/app"
)

var errNoStock = errors.New("no stock")

func (s *service) group(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	group, ctx := errgroup.WithContext(r.Context())
	for i := 0; i < 3; i++ {
		group.Go(func() error { return s.call(ctx, quick) })
	}
	reply(w, group.Wait())
}

// The first failure ends the others' calls, which is what the group is for.
func (s *service) groupFails(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	group, ctx := errgroup.WithContext(r.Context())
	group.SetLimit(2)
	group.Go(func() error { return s.call(ctx, 300*time.Millisecond) })
	group.Go(func() error {
		time.Sleep(quick)
		return errNoStock
	})
	if err := group.Wait(); !errors.Is(err, errNoStock) {
		reply(w, err)
		return
	}
	reply(w, nil)
}

func (s *service) groupSlow(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	group, ctx := errgroup.WithContext(r.Context())
	for i := 0; i < 2; i++ {
		group.Go(func() error { return s.call(ctx, 2*time.Second) })
	}
	reply(w, group.Wait())
}

// The flight belongs to all who wait for it, so it does not end with the one who came first.
func (s *service) fly(ctx context.Context, key string, d time.Duration) error {
	done := s.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		return nil, s.call(ctx, d)
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *service) shared(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.fly(r.Context(), "rates", 100*time.Millisecond))
}

func (s *service) sharedSlow(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.fly(r.Context(), "report", 400*time.Millisecond))
}

// hedged asks a second time when the first answer is late; whichever comes first wins, and ends the other.
func (s *service) hedged(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	answers := make(chan error, 2)
	ask := func(d time.Duration) { answers <- s.call(ctx, d) }
	go ask(400 * time.Millisecond)
	hedge := time.NewTimer(50 * time.Millisecond)
	defer hedge.Stop()
	select {
	case err := <-answers:
		reply(w, err)
		return
	case <-hedge.C:
		go ask(quick)
	}
	reply(w, <-answers)
}
