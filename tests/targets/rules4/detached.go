package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/compat"
)

const answerAfter = 1500 * time.Millisecond

func (s *service) detachedRoutes() []app.Route {
	return []app.Route{
		{Path: "/detached/background", PatienceMS: leave, Mode: "drop", Handler: s.onBackground},
		{Path: "/detached/background/ok", PatienceMS: leave, Mode: "drop", Handler: s.onRequest},
		{Path: "/detached/todo", PatienceMS: leave, Mode: "drop", Handler: s.onTODO},
		{Path: "/detached/todo/ok", PatienceMS: leave, Mode: "drop", Handler: s.onRequest},
		{Path: "/detached/background-timeout", PatienceMS: leave, Mode: "drop", Handler: s.onBackgroundTimeout},
		{Path: "/detached/background-timeout/ok", PatienceMS: leave, Mode: "drop", Handler: s.onRequestTimeout},
		{Path: "/detached/withoutcancel", PatienceMS: leave, Mode: "drop", Handler: s.onWithoutCancel},
		{Path: "/detached/withoutcancel/ok", PatienceMS: leave, Mode: "drop", Handler: s.onRequestTimeout},
		{Path: "/detached/wrapper", PatienceMS: leave, Mode: "drop", Handler: s.onWrapper},
		{Path: "/detached/wrapper/ok", PatienceMS: leave, Mode: "drop", Handler: s.onHonestWrapper},
		{Path: "/detached/wrapper-timeout", PatienceMS: leave, Mode: "drop", Handler: s.onWrapperTimeout},
		{Path: "/detached/wrapper-timeout/ok", PatienceMS: leave, Mode: "drop", Handler: s.onRequestTimeout},
		{Path: "/detached/wait", PatienceMS: leave, Mode: "drop", Handler: waitsDetached},
		{Path: "/detached/wait/ok", PatienceMS: leave, Mode: "drop", Handler: waitsAttached},
		{Path: "/detached/spawned", Handler: s.spawns},
		{Path: "/detached/spawned/ok", Handler: s.queues},
	}
}

func (s *service) onRequest(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.call(r.Context(), answerAfter))
}

func (s *service) onRequestTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	reply(w, s.call(ctx, answerAfter))
}

func (s *service) onBackground(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(context.Background(), answerAfter)
	resp, err := s.http.Do(req) // want: detached-context background
	reply(w, finish(resp, err))
}

func (s *service) onTODO(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(context.TODO(), answerAfter)
	resp, err := s.http.Do(req) // want: detached-context todo
	reply(w, finish(resp, err))
}

// A deadline of its own bounds the work; the request's cancel still does not reach it.
func (s *service) onBackgroundTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // want: detached-context background-timeout
	defer cancel()
	resp, err := s.http.Do(s.slow(ctx, answerAfter)) // want: detached-context background-timeout call
	reply(w, finish(resp, err))
}

func (s *service) onWithoutCancel(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(compat.WithoutCancel(r.Context()), answerAfter)
	resp, err := s.http.Do(req) // want: detached-context withoutcancel
	reply(w, finish(resp, err))
}

// valuesOnly keeps the parent at offset 0 and still cuts its cancellation.
type valuesOnly struct{ parent context.Context }

func (valuesOnly) Deadline() (time.Time, bool)         { return time.Time{}, false }
func (valuesOnly) Done() <-chan struct{}               { return nil }
func (valuesOnly) Err() error                          { return nil }
func (v valuesOnly) Value(key interface{}) interface{} { return v.parent.Value(key) }

// tagged is a user's context type that passes everything on.
type tagged struct {
	context.Context
	tag string
}

func (s *service) onWrapper(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(valuesOnly{r.Context()}, answerAfter)
	resp, err := s.http.Do(req) // want: detached-context wrapper
	reply(w, finish(resp, err))
}

func (s *service) onHonestWrapper(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(&tagged{r.Context(), "gold"}, 3*time.Second)
	defer cancel()
	reply(w, s.call(ctx, answerAfter))
}

func (s *service) onWrapperTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(valuesOnly{r.Context()}, 3*time.Second) // want: detached-context wrapper-timeout
	defer cancel()
	resp, err := s.http.Do(s.slow(ctx, answerAfter)) // want: detached-context wrapper-timeout call
	reply(w, finish(resp, err))
}

// The handler waits for a detached context although its client has left.
func waitsDetached(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(compat.WithoutCancel(r.Context()), work) // want: detached-context wait
	defer cancel()
	select {
	case <-after(2 * work):
	case <-ctx.Done():
	}
	reply(w, nil)
}

func waitsAttached(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), work)
	defer cancel()
	select {
	case <-after(2 * work):
	case <-ctx.Done():
	}
	reply(w, nil)
}

// On purpose, with a deadline of its own: worth an info, no more.
func (s *service) spawns(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	kept := compat.WithoutCancel(r.Context())
	go func() {
		ctx, cancel := context.WithTimeout(kept, 2*time.Second) // want: detached-context spawned
		defer cancel()
		_ = finish(s.http.Do(s.slow(ctx, 300*time.Millisecond))) // want: detached-context spawned call
	}()
	time.Sleep(100 * time.Millisecond) // the call has to begin while the request runs
	reply(w, nil)
}

// The work goes to a goroutine that belongs to no request.
func (s *service) queues(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan struct{})
	select {
	case s.jobs <- job{run: s.callsOnLife, done: done}:
	case <-r.Context().Done():
	}
	reply(w, nil)
}

func (s *service) callsOnLife() {
	ctx, cancel := context.WithTimeout(s.life, 2*time.Second)
	defer cancel()
	_ = s.call(ctx, 300*time.Millisecond)
}
