package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

// proved are goroutines that nothing can wake, or that wait past the end of their own context.
func proved() []app.Route {
	return []app.Route{
		route("/nil-receive", func(*http.Request) { nilReceive(nil) }),
		route("/nil-receive/ok", func(*http.Request) { nilReceive(closed()) }),
		route("/nil-send", func(*http.Request) { nilSend(nil) }),
		route("/nil-send/ok", func(*http.Request) { nilSend(make(chan int, 1)) }),
		route("/empty-select", func(*http.Request) { emptySelect() }),
		route("/empty-select/ok", func(r *http.Request) { selects(r.Context()) }),
		route("/nil-select", func(*http.Request) { nilSelect(nil, nil) }),
		route("/nil-select/ok", func(*http.Request) { nilSelect(nil, closed()) }),
		route("/dead-context", func(r *http.Request) { deadContext(r.Context(), make(chan int)) }),
		route("/dead-context/ok", func(r *http.Request) { deadContext(r.Context(), closed()) }),
	}
}

func closed() chan int {
	done := make(chan int)
	close(done)
	return done
}

func nilReceive(jobs chan int) {
	go func() { <-jobs }() // want: goroutine-leak nil-receive
}

func nilSend(answer chan int) {
	go func() { answer <- 7 }() // want: goroutine-leak nil-send
}

func emptySelect() {
	go func() { select {} }() // want: goroutine-leak empty-select
}

func nilSelect(jobs, stop chan int) {
	go func() { // want: goroutine-leak nil-select
		select {
		case <-jobs:
		case <-stop:
		}
	}()
}

func selects(ctx context.Context) {
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
	}()
}

// deadContext waits for news without looking at the context that it has made.
func deadContext(ctx context.Context, news chan int) {
	made := make(chan struct{})
	go func() { // want: goroutine-leak dead-context
		_, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		// Its handler may have returned before it comes to wait.
		close(made)
		<-news
	}()
	<-made
}
