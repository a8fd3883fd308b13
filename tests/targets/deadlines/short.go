package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

func (s *service) shortRoutes() []app.Route {
	return []app.Route{
		{Path: "/short/deep", Handler: within(route, s.asksDeep)},
		{Path: "/short/deep/ok", Handler: within(route, s.asksShallow)},
		{Path: "/short/fires", Handler: within(route, s.missesDeep)},
		{Path: "/short/fires/ok", Handler: within(route, s.missesShallow)},
	}
}

const short = 50 * time.Millisecond

// look is where the short deadlines are: six frames below the first of them.
type look func(ctx context.Context) error

func (s *service) asksDeep(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, page(r.Context(), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, short) // want: deadline-too-short deep
		defer cancel()
		return s.call(ctx, time.Millisecond)
	}))
}

// Each of them fires, although the route has two seconds.
func (s *service) missesDeep(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, page(r.Context(), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, short) // want: deadline-too-short fires
		defer cancel()
		return s.call(ctx, 4*short)
	}))
}

func (s *service) asksShallow(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), short)
	defer cancel()
	reply(w, s.call(ctx, time.Millisecond))
}

func (s *service) missesShallow(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), short)
	defer cancel()
	reply(w, s.call(ctx, 4*short))
}

func page(ctx context.Context, look look) error     { return teaser(ctx, look) }
func teaser(ctx context.Context, look look) error   { return ranking(ctx, look) }
func ranking(ctx context.Context, look look) error  { return counter(ctx, look) }
func counter(ctx context.Context, look look) error  { return pipeline(ctx, look) }
func pipeline(ctx context.Context, look look) error { return look(ctx) }
