package main

import (
	"context"
	"fmt"
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
		{Path: "/detached/deep", PatienceMS: leave, Mode: "drop", Handler: s.onDeepBackground},
		{Path: "/detached/deep/ok", PatienceMS: leave, Mode: "drop", Handler: s.onDeepRequest},
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
		{Path: "/detached/shared-background", PatienceMS: leave, Mode: "drop", Handler: s.sharesBackground},
		{Path: "/detached/shared-background/ok", PatienceMS: leave, Mode: "drop", Handler: s.shares},
		{Path: "/detached/shared-todo", PatienceMS: leave, Mode: "drop", Handler: s.sharesTODO},
		{Path: "/detached/shared-todo/ok", PatienceMS: leave, Mode: "drop", Handler: s.shares},
		{Path: "/detached/shared-inlined", PatienceMS: leave, Mode: "drop", Handler: s.sharesInlined},
		{Path: "/detached/shared-inlined/ok", PatienceMS: leave, Mode: "drop", Handler: s.shares},
		{Path: "/detached/shared-request", PatienceMS: leave, Mode: "drop", Handler: s.sharesRequest},
		{Path: "/detached/shared-request/ok", PatienceMS: leave, Mode: "drop", Handler: s.shares},
		{Path: "/detached/shared-timeout", PatienceMS: leave, Mode: "drop", Handler: s.sharesTimeout},
		{Path: "/detached/shared-timeout/ok", PatienceMS: leave, Mode: "drop", Handler: s.sharesTimeoutOK},
		{Path: "/detached/shared-without", PatienceMS: leave, Mode: "drop", Handler: s.sharesWithout},
		{Path: "/detached/shared-without/ok", PatienceMS: leave, Mode: "drop", Handler: s.sharesTimeoutOK},
		{Path: "/detached/shared-withouts", PatienceMS: leave, Mode: "drop", Handler: s.sharesWithouts},
		{Path: "/detached/shared-withouts/ok", PatienceMS: leave, Mode: "drop", Handler: s.sharesTimeoutOK},
		{Path: "/detached/shared-stored", PatienceMS: leave, Mode: "drop", Handler: s.sharesStored},
		{Path: "/detached/shared-stored/ok", PatienceMS: leave, Mode: "drop", Handler: s.shares},
		{Path: "/detached/wait", PatienceMS: leave, Mode: "drop", Handler: waitsDetached},
		{Path: "/detached/wait/ok", PatienceMS: leave, Mode: "drop", Handler: waitsAttached},
		{Path: "/detached/spawned-waited", Handler: s.spawnsAndWaits},
		{Path: "/detached/spawned-waited/ok", Handler: s.spawnsAttached},
		{Path: "/detached/spawned-orphan", PatienceMS: leave, Mode: "drop", Handler: s.spawnsAndLeaves},
		{Path: "/detached/spawned-orphan/ok", PatienceMS: leave, Mode: "drop", Handler: s.spawnsAttached},
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

// turns are more frames than a probe reads.
const turns = 20

func (s *service) onDeepBackground(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.deep(context.Background(), turns))
}

func (s *service) onDeepRequest(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.deep(r.Context(), turns))
}

//go:noinline
func (s *service) deep(ctx context.Context, turns int) error {
	if turns > 0 {
		err := s.deep(ctx, turns-1)
		return err
	}
	resp, err := s.http.Do(s.slow(ctx, answerAfter)) // want: detached-context deep
	return finish(resp, err)
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
	resp, err := s.http.Do(s.slow(compat.WithoutCancel(r.Context()), answerAfter)) // want: detached-context withoutcancel
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

// fetch is the one helper of all handlers below: what context it gets is theirs to say.
//
//go:noinline
func (s *service) fetch(ctx context.Context) error {
	resp, err := s.http.Do(s.slow(ctx, answerAfter))
	return finish(resp, err)
}

func (s *service) shares(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.fetch(r.Context()))
}

func (s *service) sharesBackground(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.fetch(context.Background())) // want: detached-context shared-background
}

func (s *service) sharesTODO(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.fetch(context.TODO())) // want: detached-context shared-todo
}

// Small enough to be inlined into its caller, and still the one that wrote the word.
func (s *service) fetchTODO() error { return s.fetch(context.TODO()) } // want: detached-context shared-inlined

func (s *service) sharesInlined(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.fetchTODO())
}

// send is shared too; http.NewRequest takes Background without saying so.
//
//go:noinline
func (s *service) send(req *http.Request) error { return finish(s.http.Do(req)) }

func (s *service) sharesRequest(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/slow?ms=%d", s.base, answerAfter.Milliseconds()), nil)
	if err != nil {
		panic(err) // only a wrong -downstream can do this
	}
	reply(w, s.send(req)) // want: detached-context shared-request
}

// bounded gives every call three seconds.
//
//go:noinline
func (s *service) bounded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // want: detached-context shared-wrapped
	defer cancel()
	return s.fetch(ctx)
}

func (s *service) sharesTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.bounded(context.Background())) // want: detached-context shared-timeout
}

func (s *service) sharesTimeoutOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.bounded(r.Context()))
}

func (s *service) sharesWithout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	kept := compat.WithoutCancel(r.Context()) // want: detached-context shared-without
	reply(w, s.bounded(kept))
}

// One for the record, one for the call: which is which the code does not tell for certain.
func (s *service) sharesWithouts(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	s.note(compat.WithoutCancel(r.Context()))
	kept := compat.WithoutCancel(r.Context())
	reply(w, s.bounded(kept)) // want: detached-context shared-withouts
}

//go:noinline
func (s *service) note(ctx context.Context) { _ = ctx.Err() }

// stored keeps its context from the start: nobody passes one, so the call itself is to blame.
//
//go:noinline
func (s *service) stored() error {
	resp, err := s.http.Do(s.slow(s.bare, answerAfter)) // want: detached-context shared-stored
	return finish(resp, err)
}

// Its own context the handler looks at, which must not be taken for the one that is used.
func (s *service) sharesStored(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if r.Context().Err() != nil {
		return
	}
	reply(w, s.stored())
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

// The handler wants the answer, and its goroutine asks on a context that nothing ends.
func (s *service) spawnsAndWaits(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error, 1)
	go func() {
		req := s.slow(context.Background(), 400*time.Millisecond)
		resp, err := s.http.Do(req) // want: detached-context spawned-waited
		done <- finish(resp, err)
	}()
	reply(w, <-done)
}

// It goes when its client does, and its goroutine stays behind.
func (s *service) spawnsAndLeaves(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error, 1)
	go func() {
		req := s.slow(context.Background(), answerAfter)
		resp, err := s.http.Do(req) // want: detached-context spawned-orphan
		done <- finish(resp, err)
	}()
	select {
	case err := <-done:
		reply(w, err)
	case <-r.Context().Done():
	}
}

func (s *service) spawnsAttached(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error, 1)
	go func() { done <- s.call(r.Context(), 400*time.Millisecond) }()
	reply(w, <-done)
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
