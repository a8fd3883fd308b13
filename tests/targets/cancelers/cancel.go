package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/compat"
)

const (
	leave = 300 // the client's patience, in milliseconds
	brief = 300 * time.Millisecond
	work  = 2 * time.Second
)

// cancelRoutes has one route for each value of cancelled_by. All handlers stop when they are told.
func cancelRoutes() []app.Route {
	return []app.Route{
		{Path: "/client", PatienceMS: leave, Mode: "drop", Handler: waits},
		{Path: "/client-write", PatienceMS: leave, Mode: "rst", Handler: writesOn},
		{Path: "/client-write-unread", PatienceMS: leave, Mode: "postunread", Handler: writesOn},
		{Path: "/read-deadline", Handler: readDeadline},
		{Path: "/read-timeout", Mode: "postunread", Handler: readTimeout},
		{Path: "/write-deadline", PatienceMS: 2500, Mode: "slowread", Handler: writeDeadline},
		{Path: "/wait", Handler: waits}, // for server_close and shutdown
		{Path: "/deadline", Handler: deadlineFires},
		{Path: "/deadline-expired", Handler: deadlineExpired},
		{Path: "/code", Handler: cancelledByCode},
		{Path: "/code-cause", Handler: cancelledWithCause},
		{Path: "/parent", Handler: cancelledByParent},
		{Path: "/normal-end", Handler: normalEnd},
	}
}

// until waits for ctx, at most for d, and says what ended it.
func until(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ended answers, and logs for those whose client cannot read the answer any more: what the context said, and
// how long after start.
func ended(w http.ResponseWriter, r *http.Request, start time.Time, err error) {
	fmt.Fprintln(w, "ended by:", err)
	log.Printf("%s %s ended by: %v, %d ms", r.Proto, r.URL.Path, err, time.Since(start).Milliseconds())
}

// waits ends with its request's context, whoever cancels that.
func waits(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ended(w, r, time.Now(), until(r.Context(), work))
}

// writesOn does not look at its context: only the failing write tells it that the client is gone. With an
// unread body net/http watches nothing else either.
func writesOn(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	flusher, _ := w.(http.Flusher)
	for i := 0; i < 40; i++ {
		if _, err := fmt.Fprintln(w, "tick", i); err != nil {
			break
		}
		flusher.Flush()
		time.Sleep(50 * time.Millisecond)
	}
	ended(w, r, time.Now(), until(r.Context(), brief))
}

func readDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = app.Conn(r).SetReadDeadline(time.Now().Add(brief)) // want: premature-cancel cancelers-read-deadline deadline
	start := time.Now()
	timer := time.NewTimer(work)
	defer timer.Stop()
	select { // want: premature-cancel cancelers-read-deadline
	case <-timer.C:
	case <-r.Context().Done():
	}
	ended(w, r, start, r.Context().Err())
}

// The body does not come. Who waits for it is not the handler: with -read-timeout, which is the server's for reading the
// whole request, that ends the request of a client that is still there.
func readTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() { _, _ = io.Copy(io.Discard, r.Body) }()
	timer := time.NewTimer(work)
	defer timer.Stop()
	select { // want: premature-cancel cancelers-read-timeout
	case <-timer.C:
	case <-r.Context().Done():
	}
	fmt.Fprintln(w, "ok")
}

// The client reads slower than we write, until the connection's write deadline passes.
func writeDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = app.Conn(r).SetWriteDeadline(time.Now().Add(brief))
	chunk := make([]byte, 64<<10)
	for i := 0; i < 1024; i++ {
		if _, err := w.Write(chunk); err != nil {
			break
		}
	}
	ended(w, r, time.Now(), until(r.Context(), work))
}

func deadlineFires(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	ended(w, r, time.Now(), until(ctx, work))
}

func deadlineExpired(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithDeadline(r.Context(), time.Now().Add(-time.Second))
	defer cancel()
	ended(w, r, time.Now(), until(ctx, work))
}

func cancelledByCode(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(r.Context())
	time.AfterFunc(brief, cancel)
	ended(w, r, time.Now(), until(ctx, work))
}

func cancelledWithCause(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := compat.WithCancelCause(r.Context())
	time.AfterFunc(brief, func() { cancel(errors.New("enough")) })
	ended(w, r, time.Now(), until(ctx, work))
}

// The code cancels a context; the one that the wait is on dies with it.
func cancelledByParent(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	parent, stop := context.WithCancel(r.Context())
	time.AfterFunc(brief, stop)
	child, cancel := context.WithTimeout(parent, 10*time.Second)
	defer cancel()
	ended(w, r, time.Now(), until(child, work))
}

// A goroutine of the request ends with it, at once.
func normalEnd(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx := r.Context()
	go func() { <-ctx.Done() }()
	time.Sleep(brief)
	fmt.Fprintln(w, "ok")
}
