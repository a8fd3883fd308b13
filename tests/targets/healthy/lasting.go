package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/observer-targets/internal/app"
)

// lastingRoutes start what goes on after their answers.
func (s *service) lastingRoutes() []app.Route {
	return []app.Route{
		{Path: "/report", Status: http.StatusAccepted, Handler: s.report},
		{Path: "/session", Handler: s.session},
	}
}

// report answers 202, and waits in one place until somebody else has done the work.
func (s *service) report(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan struct{})
	time.AfterFunc(s.jobLasts, func() { close(done) })
	go func() {
		select {
		case <-done:
		case <-s.life.Done():
		}
	}()
	w.WriteHeader(http.StatusAccepted)
}

// session begins one that lasts as long as the process: news for it come rarely.
func (s *service) session(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	news := make(chan string)
	s.sessions.Store(atomic.AddInt64(&s.users, 1), news)
	go func() { // want: goroutine-leak session
		for one := range news {
			fmt.Println("news:", one)
		}
	}()
	fmt.Fprintln(w, "ok")
}
