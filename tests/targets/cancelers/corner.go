package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

// cornerRoutes are the parts of net/http in which a request's end or its client's leaving looks different.
func cornerRoutes() []app.Route {
	return []app.Route{
		{Path: "/hello", Handler: hello},
		{
			Path: "/timeout-handler", Status: http.StatusServiceUnavailable,
			Handler: http.TimeoutHandler(http.HandlerFunc(waits), brief, "too slow").ServeHTTP,
		},
		{Path: "/hijack", Handler: hijack},
		{Path: "/panic", Mode: "drop", Outcome: "failed", Handler: panics},
		{Path: "/panic-abort", Mode: "drop", Outcome: "failed", Handler: aborts},
		{Path: "/panic-recovered", Status: http.StatusInternalServerError, Handler: recovers},
		{Path: "/expect", Mode: "expect100", Handler: readsBody},
		{Path: "/unread-body", Mode: "postunread", PatienceMS: leave, Handler: unreadBody},
		{Path: "/pipelined", Mode: "pipeline", PatienceMS: leave, Handler: pipelined},
		{Path: "/upload", Mode: "get", Handler: readsBody},
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	fmt.Fprintln(w, "hello over", r.Proto)
}

// hijack takes the connection, sends for half a second and closes it.
func hijack(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	hijacker, can := w.(http.Hijacker)
	if !can {
		http.Error(w, "HTTP/1 only", http.StatusNotImplemented)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	fmt.Fprint(buffered, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
	for i := 0; i < 10; i++ {
		fmt.Fprintln(buffered, "pump", i)
		if buffered.Flush() != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func panics(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	panic("planted")
}

func aborts(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	panic(http.ErrAbortHandler)
}

func recovers(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	defer func() {
		if recover() != nil {
			http.Error(w, "sorry", http.StatusInternalServerError)
		}
	}()
	panic("planted")
}

// readsBody makes net/http send 100 Continue by its first read.
func readsBody(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, "read", n)
}

// While the body is unread, net/http does not watch the connection: nobody tells this handler.
func unreadBody(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	start := time.Now()
	timer := time.NewTimer(work)
	defer timer.Stop()
	select { // want: cancel-undelivered unread-body
	case <-timer.C:
	case <-r.Context().Done():
	}
	ended(w, r, start, r.Context().Err())
}

// One byte of the next request, and net/http stops watching too; a request that came in the same read is in
// its buffer already and does no harm.
func pipelined(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	start := time.Now()
	timer := time.NewTimer(work)
	defer timer.Stop()
	select { // want: cancel-undelivered pipelined
	case <-timer.C:
	case <-r.Context().Done():
	}
	ended(w, r, start, r.Context().Err())
}
