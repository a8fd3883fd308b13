package main

import (
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

// beside are handlers that wait for goroutines of theirs.
func (s *service) beside() []app.Route {
	return []app.Route{
		dropped("/beside/sleep", sleeps),
		dropped("/beside/sleep/ok", sleepsOK),
		dropped("/beside/query", s.queries),
		dropped("/beside/query/ok", s.queriesOK),
		dropped("/beside/join", joins),
		dropped("/beside/join/ok", joinsOK),
		dropped("/beside/helper", helped),
	}
}

// The handler waits for a goroutine that knows no context.
func sleeps(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan struct{})
	go func() { // want: cancel-ignored sleep go
		time.Sleep(work)
		close(done)
	}()
	<-done // want: cancel-ignored sleep
}

func sleepsOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan struct{})
	go func() {
		downstream.Pause(r.Context(), work)
		close(done)
	}()
	<-done
}

// The handler waits for a query that does not hear of its context.
func (s *service) queries(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error)
	go func() { // want: cancel-ignored query go
		done <- ask(r.Context(), s.deaf)
	}()
	<-done // want: cancel-ignored query
}

func (s *service) queriesOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error)
	go func() {
		done <- ask(r.Context(), s.obedient)
	}()
	<-done
}

// Both wait: the handler for its goroutine, that for somebody else.
func joins(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var all sync.WaitGroup
	news := make(chan struct{})
	time.AfterFunc(work, func() { close(news) })
	all.Add(1)
	go func() { // want: cancel-ignored join go
		defer all.Done()
		<-news
	}()
	all.Wait() // want: cancel-ignored join
}

func joinsOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var all sync.WaitGroup
	news := make(chan struct{})
	time.AfterFunc(work, func() { close(news) })
	all.Add(1)
	go func() {
		defer all.Done()
		select {
		case <-news:
		case <-r.Context().Done():
		}
	}()
	all.Wait()
}

// Its goroutine only stands by; what the handler waits for is somebody else's.
func helped(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	over, news := make(chan struct{}), make(chan struct{})
	defer close(over)
	go func() { <-over }()
	time.AfterFunc(work, func() { close(news) })
	<-news // want: cancel-ignored helper
}
