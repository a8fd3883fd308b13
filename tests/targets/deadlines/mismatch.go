package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

func (s *service) mismatchRoutes() []app.Route {
	return []app.Route{
		{Path: "/mismatch/hijacked/ok", Handler: within(route, hijacked)},
		{Path: "/mismatch/client", Handler: s.clientFires},
		{Path: "/mismatch/client/ok", Handler: s.clientAbove},
		{Path: "/mismatch/client/alone/ok", Handler: s.clientAlone},
		{Path: "/mismatch/static", Handler: s.clientBelow},
		{Path: "/mismatch/static/ok", Handler: s.clientAbove},
		{Path: "/mismatch/write-deadline", Outcome: "failed", Handler: writeDeadlineFires},
		{Path: "/mismatch/write-deadline/ok", Handler: writeDeadlineLifted},
		{Path: "/mismatch/large", Outcome: "failed", Handler: largeWriteFails},
		{Path: "/mismatch/large/ok", Handler: largeWriteInTime},
		{Path: "/mismatch/write-timeout", Outcome: "failed", Handler: writeTimeoutFires},
		{Path: "/mismatch/write-timeout/ok", Handler: writesInTime},
		{Path: "/mismatch/left-over", Outcome: "failed", Handler: leavesAnswer},
		{Path: "/mismatch/left-over/freed/ok", Outcome: "failed", Handler: freesInTime},
		{Path: "/mismatch/left-over/ok", Handler: leavesAnswerInTime},
	}
}

func (s *service) with(timeout time.Duration) *http.Client {
	return &http.Client{Transport: s.http.Transport, Timeout: timeout}
}

// The context would wait for two seconds, the client does not.
func (s *service) clientFires(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch client deadline
	defer cancel()
	client := s.with(200 * time.Millisecond)
	resp, err := client.Do(s.slow(ctx, long)) // want: timeout-mismatch client
	reply(w, finish(resp, err))
}

// Shorter, but the answer comes in time.
func (s *service) clientBelow(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch static deadline
	defer cancel()
	client := s.with(time.Second)
	resp, err := client.Do(s.slow(ctx, quick)) // want: timeout-mismatch static
	reply(w, finish(resp, err))
}

// A safety net above the context's deadline, which fires first.
func (s *service) clientAbove(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	reply(w, finish(s.with(5*time.Second).Do(s.slow(ctx, long))))
}

// There is one clock only.
func (s *service) clientAlone(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, finish(s.with(brief).Do(s.slow(r.Context(), long))))
}

// send writes so that it leaves at once.
func send(w http.ResponseWriter) {
	fmt.Fprintln(w, "ok")
	if flusher, can := w.(http.Flusher); can {
		flusher.Flush()
	}
}

// The handler gives its answer 200 ms, and the work before it two seconds.
func writeDeadlineFires(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch write-deadline deadline
	defer cancel()
	_ = app.Conn(r).SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	downstream.Pause(ctx, 400*time.Millisecond)
	fmt.Fprintln(w, "ok")
	flusher := w.(http.Flusher)
	flusher.Flush() // want: timeout-mismatch write-deadline
	time.Sleep(brief)
}

// The same, of an answer that is too large to be held back until it is flushed.
func largeWriteFails(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch large deadline
	defer cancel()
	_ = app.Conn(r).SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	downstream.Pause(ctx, 400*time.Millisecond)
	fmt.Fprintln(w, strings.Repeat("x", 64<<10)) // want: timeout-mismatch large
	time.Sleep(brief)
}

func largeWriteInTime(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route)
	defer cancel()
	_ = app.Conn(r).SetWriteDeadline(time.Now().Add(time.Second))
	downstream.Pause(ctx, 400*time.Millisecond)
	fmt.Fprintln(w, strings.Repeat("x", 64<<10))
}

func writeDeadlineLifted(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route)
	defer cancel()
	_ = app.Conn(r).SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	downstream.Pause(ctx, 400*time.Millisecond)
	_ = app.Conn(r).SetWriteDeadline(time.Time{})
	send(w)
}

// The server gives up before the route's eight seconds are over.
func writeTimeoutFires(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second) // want: timeout-mismatch write-timeout deadline
	defer cancel()
	downstream.Pause(ctx, writeTimeout+brief)
	fmt.Fprintln(w, "ok")
	flusher := w.(http.Flusher)
	flusher.Flush() // want: timeout-mismatch write-timeout
	time.Sleep(brief)
}

func writesInTime(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	defer cancel()
	downstream.Pause(ctx, brief)
	send(w)
}

// The server gives up, and nobody hears of it: the answer is so small that it is written when the handler has returned.
func leavesAnswer(w http.ResponseWriter, r *http.Request) { // want: timeout-mismatch left-over
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second) // want: timeout-mismatch left-over deadline
	defer cancel()
	downstream.Pause(ctx, writeTimeout+brief)
	_, _ = w.Write(make([]byte, 100))
}

func leavesAnswerInTime(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	defer cancel()
	downstream.Pause(ctx, brief)
	_, _ = w.Write(make([]byte, 100))
}

// As late, but what had a deadline was over when the server gave up.
func freesInTime(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	downstream.Pause(ctx, brief)
	cancel()
	downstream.Pause(r.Context(), writeTimeout)
	_, _ = w.Write(make([]byte, 100))
}

// The connection is the handler's own: its deadline passes, and nothing but the handler's read hears of it.
func hijacked(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err) // HTTP/1
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(quick))
	if _, err = conn.Read(make([]byte, 1)); err == nil {
		panic("the client sends nothing more")
	}
	time.Sleep(brief)
	_ = conn.SetDeadline(time.Time{})
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"))
}
