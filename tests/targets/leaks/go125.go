//go:build go1.25

package main

import (
	"net/http"
	"sync"

	"example.com/observer-targets/internal/app"
)

// since125 needs sync.WaitGroup.Go.
func since125() []app.Route {
	return []app.Route{
		route("/wait-group", func(*http.Request) { waitGroup(make(chan int)) }),
		route("/wait-group/ok", func(*http.Request) { waitGroup(make(chan int, 1)) }),
	}
}

func waitGroup(answer chan int) {
	var all sync.WaitGroup
	all.Go(func() { answer <- 7 }) // want: goroutine-leak wait-group
}
