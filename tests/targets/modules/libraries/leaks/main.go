// Command libraries/leaks starts goroutines through a library that never end; the healthy twin of a route is the same path
// with /ok behind it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"example.com/observer-targets/internal/app"
)

var errNoStock = errors.New("no stock")

func main() {
	flag.Parse()
	app.Run(&http.Server{Handler: app.Mux([]app.Route{
		{Path: "/errgroup", Handler: answer(func(*http.Request) error { return withoutContext(make(chan int)) })},
		{Path: "/errgroup/ok", Handler: answer(func(r *http.Request) error { return withContext(r.Context(), make(chan int)) })},
	})})
}

func answer(work func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		fmt.Fprintln(w, work(r))
	}
}

// withoutContext: nobody tells the group that its jobs are wanted no more.
func withoutContext(jobs chan int) error {
	var group errgroup.Group
	group.Go(func() error { // want: goroutine-leak errgroup
		jobs <- 7
		return nil
	})
	return errNoStock
}

func withContext(ctx context.Context, jobs chan int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case jobs <- 7:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return errNoStock
}
