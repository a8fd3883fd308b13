package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/group"
)

const inFlight = 600 * time.Millisecond

func (s *service) prematureRoutes() []app.Route {
	return []app.Route{
		{Path: "/premature/async", Handler: s.async},
		{Path: "/premature/async/ok", Handler: s.asyncOK},
		{Path: "/premature/wrapped", Handler: s.wrapped},
		{Path: "/premature/wrapped/ok", Handler: s.wrappedOK},
		{Path: "/premature/panic", Mode: "drop", Outcome: "failed", Handler: s.panics},
		{Path: "/premature/panic/ok", Mode: "drop", Outcome: "failed", Handler: s.panicsOK},
		{Path: "/premature/late", Handler: s.late},
		{Path: "/premature/late/ok", Handler: s.lateOK},
		{Path: "/premature/body", Handler: s.body},
		{Path: "/premature/body/ok", Handler: s.bodyOK},
		{Path: "/premature/body-handed", Handler: s.bodyHanded},
		{Path: "/premature/body-handed/ok", Handler: s.bodyHandedOK},
		{Path: "/premature/body-stopped/ok", Handler: s.bodyStoppedOK},
		{Path: "/premature/body-arrived/ok", Handler: s.bodyArrivedOK},
		{Path: "/premature/body-unread/ok", Handler: s.bodyUnreadOK},
		{Path: "/premature/read-deadline", Handler: s.readDeadline},
		{Path: "/premature/read-deadline/ok", Handler: s.readDeadlineOK},
		{Path: "/premature/read-deadline-wait", Handler: readDeadlineWait},
		{Path: "/premature/read-deadline-wait/ok", Handler: readDeadlineWaitOK},
		{Path: "/premature/after-group", Handler: s.afterGroup},
		{Path: "/premature/after-group/ok", Handler: s.afterGroupOK},
	}
}

// The response ends the request's context, and with it the call that somebody still wanted.
func (s *service) async(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(r.Context(), inFlight)
	go func() {
		resp, err := s.http.Do(req) // want: premature-cancel async
		_ = finish(resp, err)
	}()
	time.Sleep(100 * time.Millisecond) // the call has to be in flight when the handler returns
	reply(w, nil)
}

func (s *service) asyncOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error, 1)
	go func() { done <- s.call(r.Context(), inFlight) }()
	reply(w, <-done)
}

// tenantContext is what a middleware wraps contexts in: nobody who does not know its layout can walk through it.
type tenantContext struct {
	tenant string
	context.Context
}

func (s *service) wrapped(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(&tenantContext{"shop", r.Context()}, inFlight)
	go func() {
		resp, err := s.http.Do(req) // want: premature-cancel wrapped
		_ = finish(resp, err)
	}()
	time.Sleep(100 * time.Millisecond) // the call has to be in flight when the handler returns
	reply(w, nil)
}

func (s *service) wrappedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(&tenantContext{"shop", r.Context()}, 10*inFlight)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.call(ctx, inFlight) }()
	reply(w, <-done)
}

// The handler panics while somebody still wants the answer.
func (s *service) panics(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(r.Context(), inFlight)
	go func() {
		resp, err := s.http.Do(req) // want: premature-cancel panic
		_ = finish(resp, err)
	}()
	time.Sleep(100 * time.Millisecond) // the call has to be in flight when the handler panics
	panic("planted")
}

func (s *service) panicsOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error, 1)
	go func() { done <- s.call(r.Context(), quick) }()
	<-done
	panic("planted")
}

// The call starts when the request is long over.
func (s *service) late(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(r.Context(), quick)
	go func() {
		time.Sleep(300 * time.Millisecond)
		resp, err := s.http.Do(req) // want: premature-cancel late
		_ = finish(resp, err)
	}()
	reply(w, nil)
}

func (s *service) lateOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() {
		time.Sleep(300 * time.Millisecond)
		s.callsOnLife()
	}()
	reply(w, nil)
}

// open hands out a body that its own deferred cancel has already killed.
func (s *service) open(ctx context.Context) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, generous)
	defer cancel()
	// Go reports the line of the return statement for a deferred call; from 1.25 on, where it does not optimise, the last one.
	return s.http.Do(s.request(ctx, "/body?chunks=8&ms=100")) // want: premature-cancel body cancel
} // want: premature-cancel body unoptimised-cancel

func (s *service) body(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	resp, err := s.open(r.Context())
	if err != nil {
		reply(w, err)
		return
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body) // want: premature-cancel body
	reply(w, err)
}

func (s *service) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, generous)
	defer cancel()
	return finish(s.http.Do(s.request(ctx, "/body?chunks=8&ms=100")))
}

func (s *service) bodyOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.load(r.Context()))
}

// answer is what a goroutine hands over that made a call for somebody else.
type answer struct {
	resp *http.Response
	err  error
}

// fetchBehind makes the call on a goroutine of its own; the body is the receiver's to read.
func (s *service) fetchBehind(ctx context.Context) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		resp, err := s.http.Do(s.request(ctx, "/body?chunks=8&ms=100"))
		answers <- answer{resp, err}
	}()
	return answers
}

// The handler cancels as soon as the answer is there and reads the body afterwards: it is no
// concern of the goroutine that made the call.
func (s *service) bodyHanded(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), generous)
	got := <-s.fetchBehind(ctx)
	cancel() // want: premature-cancel body-handed cancel
	if got.err != nil {
		reply(w, got.err)
		return
	}
	defer got.resp.Body.Close()
	_, err := io.ReadAll(got.resp.Body) // want: premature-cancel body-handed
	reply(w, err)
}

func (s *service) bodyHandedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), generous)
	defer cancel()
	got := <-s.fetchBehind(ctx)
	reply(w, finish(got.resp, got.err))
}

// The handler has heard enough and stops the goroutine that reads.
func (s *service) bodyStoppedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), generous)
	done := make(chan error, 1)
	go func() { done <- finish(s.http.Do(s.request(ctx, "/body?chunks=8&ms=100"))) }()
	time.Sleep(250 * time.Millisecond)
	cancel()
	reply(w, <-done)
}

// The whole body has arrived with its header, so a cancel does not keep it from being read.
func (s *service) bodyArrivedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), generous)
	resp, err := s.http.Do(s.request(ctx, "/json"))
	cancel()
	time.Sleep(50 * time.Millisecond) // the transport closes the connection
	reply(w, finish(resp, err))
}

// Nobody wants the body.
func (s *service) bodyUnreadOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), generous)
	resp, err := s.http.Do(s.request(ctx, "/body?chunks=8&ms=100"))
	cancel()
	if err == nil {
		err = resp.Body.Close()
	}
	reply(w, err)
}

// A read deadline on the connection ends the request's context although the client is there and waits.
func (s *service) readDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = app.Conn(r).SetReadDeadline(time.Now().Add(brief)) // want: premature-cancel read-deadline deadline
	req := s.slow(r.Context(), answerAfter)
	resp, err := s.http.Do(req) // want: premature-cancel read-deadline
	reply(w, finish(resp, err))
}

// The deadline is for the body; it is lifted when the body has been read.
func (s *service) readDeadlineOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	readBodyWithin(r, brief)
	reply(w, s.call(r.Context(), answerAfter))
}

func readDeadlineWait(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = app.Conn(r).SetReadDeadline(time.Now().Add(brief)) // want: premature-cancel read-deadline-wait deadline
	ready := after(answerAfter)
	select { // want: premature-cancel read-deadline-wait
	case <-ready:
	case <-r.Context().Done():
	}
	reply(w, r.Context().Err())
}

func readDeadlineWaitOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	readBodyWithin(r, brief)
	downstream.Pause(r.Context(), answerAfter)
	reply(w, r.Context().Err())
}

func readBodyWithin(r *http.Request, d time.Duration) {
	conn := app.Conn(r)
	_ = conn.SetReadDeadline(time.Now().Add(d))
	_, _ = io.Copy(io.Discard, r.Body)
	_ = conn.SetReadDeadline(time.Time{})
}

// The group's context ends with Wait; the call after it cannot succeed.
func (s *service) afterGroup(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	parts, ctx := group.WithContext(r.Context())
	parts.Go(func() error { return s.call(ctx, quick) })
	if err := parts.Wait(); err != nil {
		reply(w, err)
		return
	}
	req := s.slow(ctx, quick)
	resp, err := s.http.Do(req) // want: premature-cancel after-group
	reply(w, finish(resp, err))
}

func (s *service) afterGroupOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	parts, ctx := group.WithContext(r.Context())
	parts.Go(func() error { return s.call(ctx, quick) })
	if err := parts.Wait(); err != nil {
		reply(w, err)
		return
	}
	reply(w, s.call(r.Context(), quick))
}
