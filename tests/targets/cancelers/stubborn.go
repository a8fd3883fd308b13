package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

// stubbornRoutes work on whoever cancels them, each on a line of its own: what is said about them has to name who
// cancelled. Those without patience wait for a signal or for their own time.
func stubbornRoutes() []app.Route {
	return []app.Route{
		{Path: "/stubborn/fin", PatienceMS: leave, Mode: "drop", Handler: stubbornFIN},
		{Path: "/stubborn/rst", PatienceMS: leave, Mode: "rst", Handler: stubbornRST},
		{Path: "/stubborn/halfclose", PatienceMS: leave, Mode: "halfclose", Outcome: "ok", Handler: stubbornHalfClose},
		{Path: "/stubborn/write", PatienceMS: leave, Mode: "postunread", Handler: stubbornWrite},
		{Path: "/stubborn/write-deadline", PatienceMS: 2500, Mode: "slowread", Handler: stubbornWriteDeadline},
		{Path: "/stubborn/h2", PatienceMS: leave, Mode: "h2", Handler: stubbornH2},
		{Path: "/stubborn/h2-leave", PatienceMS: leave, Mode: "h2leave", Handler: stubbornH2Leave},
		{Path: "/stubborn/server-close", Outcome: "failed", Handler: stubbornServerClose},
		{Path: "/stubborn/h2-server-close", Mode: "h2", Outcome: "failed", Handler: stubbornH2ServerClose},
		{Path: "/stubborn/shutdown", Handler: stubbornShutdown},
		{Path: "/stubborn/code", Handler: stubbornCode},
	}
}

func stubbornFIN(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-fin
	fmt.Fprintln(w, "ok")
}

func stubbornRST(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-rst
	fmt.Fprintln(w, "ok")
}

func stubbornHalfClose(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-halfclose
	fmt.Fprintln(w, "ok")
}

// The body is unread, so only a failing write tells net/http that the client is gone.
func stubbornWrite(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	flusher, _ := w.(http.Flusher)
	for i := 0; i < 40; i++ {
		if _, err := fmt.Fprintln(w, "tick", i); err != nil {
			break
		}
		flusher.Flush()
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(work) // want: cancel-ignored stubborn-write
}

func stubbornWriteDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = app.Conn(r).SetWriteDeadline(time.Now().Add(brief))
	chunk := make([]byte, 64<<10)
	for i := 0; i < 1024; i++ {
		if _, err := w.Write(chunk); err != nil {
			break
		}
	}
	time.Sleep(work) // want: cancel-ignored stubborn-write-deadline
}

func stubbornH2(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-h2
	fmt.Fprintln(w, "ok")
}

// The client closes the connection, not the stream.
func stubbornH2Leave(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-h2-leave
	fmt.Fprintln(w, "ok")
}

func stubbornServerClose(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-server-close
	fmt.Fprintln(w, "ok")
}

func stubbornH2ServerClose(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored stubborn-h2-server-close
	fmt.Fprintln(w, "ok")
}

func stubbornShutdown(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(2 * work) // want: cancel-ignored stubborn-shutdown
	fmt.Fprintln(w, "ok")
}

// The code cancels the parent of the context that the handler has for its own.
func stubbornCode(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	parent, stop := context.WithCancel(r.Context())
	time.AfterFunc(brief, stop)
	ctx, cancel := context.WithTimeout(parent, 10*time.Second) // want: cancel-ignored stubborn-code context
	defer cancel()
	time.Sleep(work) // want: cancel-ignored stubborn-code
	fmt.Fprintln(w, "ended by:", ctx.Err())
}
