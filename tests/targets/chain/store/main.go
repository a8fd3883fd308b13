// Command store is what the front of this folder calls. Most of its handlers do not care whether anybody still wants
// their answer.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/selfsigned"
)

const work = 2 * time.Second

func main() {
	secure := flag.Bool("tls", false, "serve over TLS too")
	flag.Parse()
	handler := app.Mux([]app.Route{
		{Path: "/deadline", Handler: deadline},
		{Path: "/client", Handler: client},
		{Path: "/code", Handler: code},
		{Path: "/unread", Handler: unread},
		{Path: "/traced", Handler: traced},
		{Path: "/twins", Handler: twins},
		{Path: "/spans", Handler: spans},
		{Path: "/anonymous", Handler: anonymous},
		{Path: "/queued", Handler: queued},
		{Path: "/honours", Handler: honours},
		{Path: "/in-time", Handler: inTime},
		{Path: "/answered", Handler: answered},
		{Path: "/quick", Handler: quick},
		{Path: "/retry", Handler: retry},
	})
	if *secure {
		serveTLS(handler)
	}
	app.Run(&http.Server{Handler: handler})
}

func serveTLS(handler http.Handler) {
	config, _ := selfsigned.New()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening-tls", ln.Addr())
	go func() { log.Fatal(http.Serve(ln, handler)) }()
}

func deadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored deadline
	fmt.Fprintln(w, "ok")
}

func client(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored client
	fmt.Fprintln(w, "ok")
}

func code(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored code
	fmt.Fprintln(w, "ok")
}

// It would stop, but its body is unread, and so nobody tells it.
func unread(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	either(r)
	fmt.Fprintln(w, "ok")
}

func either(r *http.Request) {
	timer := time.NewTimer(work)
	defer timer.Stop()
	select { // want: cancel-undelivered unread
	case <-timer.C:
	case <-r.Context().Done():
	}
}

func traced(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored traced
	fmt.Fprintln(w, "ok")
}

func twins(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored twins
	fmt.Fprintln(w, "ok")
}

func spans(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored spans
	fmt.Fprintln(w, "ok")
}

func anonymous(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored anonymous
	fmt.Fprintln(w, "ok")
}

func honours(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if downstream.Pause(r.Context(), work) {
		fmt.Fprintln(w, "ok")
	}
}

func inTime(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(400 * time.Millisecond)
	fmt.Fprintln(w, "ok")
}

// All of the answer is out before the rest of the work.
func answered(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	w.Header().Set("Content-Length", "3")
	_, _ = io.WriteString(w, "ok\n")
	w.(http.Flusher).Flush()
	time.Sleep(work)
}

var queuedOnce sync.Once

// The same, after long enough for another call to wait for the connection; that one is answered at once.
func queued(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	queuedOnce.Do(func() {
		time.Sleep(20 * time.Millisecond)
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "ok\n")
		w.(http.Flusher).Flush()
		time.Sleep(work) // want: cancel-undelivered queued
	})
}

func quick(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	fmt.Fprintln(w, "ok")
}

func retry(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if downstream.Pause(r.Context(), 200*time.Millisecond) { // longer than the front's first try waits
		fmt.Fprintln(w, "ok")
	}
}
