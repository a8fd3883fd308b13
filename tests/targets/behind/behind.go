package main

import (
	"context"
	"database/sql"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

// behind are handlers that go when their client does, or before, and leave a goroutine.
func (s *service) behind() []app.Route {
	return []app.Route{
		dropped("/behind/query", s.leavesQuery),
		dropped("/behind/query/ok", s.leavesQueryOK),
		dropped("/behind/scope", leavesScope),
		dropped("/behind/scope/ok", leavesScopeOK),
		dropped("/behind/grandchild", leavesGrandchild),
		dropped("/behind/job/ok", leavesJobOK),
		dropped("/behind/detached/ok", s.leavesDetachedOK),
		{Path: "/killed", Handler: s.kills},
		{Path: "/killed/ok", Handler: s.killsOK},
	}
}

// ask makes a query.
func ask(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT name FROM items")
	if err != nil {
		return err
	}
	return rows.Close()
}

// The handler leaves with its client; the query that it started does not hear of it.
func (s *service) leavesQuery(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() { _ = ask(r.Context(), s.deaf) }() // want: cancel-ignored behind-query go
	<-r.Context().Done()
}

func (s *service) leavesQueryOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() { _ = ask(r.Context(), s.obedient) }()
	<-r.Context().Done()
}

// The goroutine gives its work a time limit under the request's context, and does not look at it.
func leavesScope(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() { // want: cancel-ignored scope go
		_, cancel := context.WithTimeout(r.Context(), generous)
		defer cancel()
		time.Sleep(work) // want: cancel-ignored scope
	}()
	<-r.Context().Done()
}

func leavesScopeOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() {
		ctx, cancel := context.WithTimeout(r.Context(), generous)
		defer cancel()
		downstream.Pause(ctx, work)
	}()
	<-r.Context().Done()
}

// Who works was started by one that is gone.
func leavesGrandchild(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() {
		go func() { // want: cancel-ignored grandchild go
			_, cancel := context.WithTimeout(r.Context(), generous)
			defer cancel()
			time.Sleep(work) // want: cancel-ignored grandchild
		}()
	}()
	<-r.Context().Done()
}

// A job that was accepted may take as long as it takes.
func leavesJobOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() { time.Sleep(work) }()
	<-r.Context().Done()
}

// What is to be done whatever becomes of the request has a context and a time limit of its own.
func (s *service) leavesDetachedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		_ = ask(ctx, s.obedient)
	}()
	<-r.Context().Done()
}

// The response ends the request's context, and with it a call that somebody still wanted.
func (s *service) kills(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(r.Context())
	go func() { // want: premature-cancel killed go
		resp, err := s.http.Do(req) // want: premature-cancel killed
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	time.Sleep(100 * time.Millisecond) // the call has to be in flight when the handler returns
}

func (s *service) killsOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	req := s.slow(r.Context())
	done := make(chan error)
	go func() {
		resp, err := s.http.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	<-done
}

func (s *service) slow(ctx context.Context) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/slow?ms=500", nil)
	if err != nil {
		panic(err) // the address is a listener's
	}
	return req
}
