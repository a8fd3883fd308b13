package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
)

// late is longer than what the test takes for a leak.
const late = 2700 * time.Millisecond

// life has no end before the process.
var life = context.Background()

// healthy are goroutines that outlive their requests on purpose, and end.
func healthy() []app.Route {
	return []app.Route{
		route("/one-second/ok", func(*http.Request) { pause(time.Second) }),
		route("/late/ok", func(*http.Request) { waits(late) }),
		route("/steps/ok", func(*http.Request) { steps(late) }),
		route("/busy/ok", func(*http.Request) { busy(late) }),
		route("/boxed/ok", boxed),
		route("/chosen/ok", chosen),
		route("/queued/ok", queued),
		route("/session", session),
		route("/std/ok", func(*http.Request) { time.AfterFunc(time.Hour, func() {}) }),
	}
}

// sessions are the channels on which they wait for news, by their requests' IDs.
var sessions sync.Map

// session may be told something for as long as the process lives.
func session(r *http.Request) {
	news := make(chan string)
	sessions.Store(r.Header.Get("X-Request-Id"), news)
	go func() { // want: goroutine-leak session
		for range news {
		}
	}()
}

func pause(d time.Duration) {
	go func() { time.Sleep(d) }()
}

// waits in one place: nothing tells it from a leak until it has ended.
func waits(d time.Duration) {
	go func() {
		select {
		case <-life.Done():
		case <-time.After(d):
		}
	}()
}

// steps works a little, again and again.
func steps(d time.Duration) {
	go func() {
		for begun := time.Now(); time.Since(begun) < d; {
			select {
			case <-life.Done():
				return
			case <-time.After(d / 10):
			}
		}
	}()
}

// busy computes.
func busy(d time.Duration) {
	go func() {
		for begun := time.Now(); time.Since(begun) < d; {
			for i := 0; i < 1000; i++ {
				_ = i * i
			}
			time.Sleep(time.Millisecond)
		}
	}()
}
