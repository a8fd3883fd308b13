// Command deadlines carries one planted mistake per route for deadline-dropped, deadline-inflated,
// timeout-mismatch and deadline-too-short; the healthy twin of a route is the same path with /ok behind it.
// Markers are as in rules4; README.md lists what each case expects.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

const (
	quick = 20 * time.Millisecond
	brief = 300 * time.Millisecond
	late  = 500 * time.Millisecond
	long  = 1200 * time.Millisecond
	route = 2 * time.Second
	// writeTimeout is the server's; every route but one has answered long before.
	writeTimeout = 3 * time.Second
)

// service is what all handlers share.
type service struct {
	base string
	http *http.Client
}

func main() {
	flag.Parse()
	s := &service{
		base: downstream.Start(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	routes := s.droppedRoutes()
	routes = append(routes, s.inflatedRoutes()...)
	routes = append(routes, s.mismatchRoutes()...)
	routes = append(routes, s.shortRoutes()...)
	routes = append(routes, controllerRoutes()...)
	app.Run(&http.Server{Handler: app.Mux(routes), ConnContext: app.ConnContext, WriteTimeout: writeTimeout})
}

// within is the middleware that gives a route its deadline.
func within(d time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return limited{d, next}.ServeHTTP
}

type limited struct {
	d    time.Duration
	next http.Handler
}

func (l limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), l.d) // want: deadlines middleware deadline
	defer cancel()
	l.next.ServeHTTP(w, r.WithContext(ctx))
}

// parsed is the time in d as one reads it from a message: by the wall clock alone.
func parsed(d time.Duration) time.Time {
	at, err := time.Parse(time.RFC3339Nano, time.Now().Add(d).Format(time.RFC3339Nano))
	if err != nil {
		panic(err) // the text is our own
	}
	return at
}

// slow is a request that the downstream answers after d.
func (s *service) slow(ctx context.Context, d time.Duration) *http.Request {
	url := fmt.Sprintf("%s/slow?ms=%d", s.base, d.Milliseconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err) // the URL is our own
	}
	return req
}

// call is a healthy call: nothing outlives it.
func (s *service) call(ctx context.Context, d time.Duration) error {
	return finish(s.http.Do(s.slow(ctx, d)))
}

func finish(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// reply answers 200 in any case: a planted failure is no wrong answer.
func reply(w http.ResponseWriter, err error) {
	if err != nil {
		fmt.Fprintln(w, "failed:", err)
		return
	}
	fmt.Fprintln(w, "ok")
}
