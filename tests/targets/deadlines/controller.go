//go:build go1.20

package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

// controllerRoutes bound their connection through http.ResponseController, which Go has from 1.20 on.
func controllerRoutes() []app.Route {
	return []app.Route{
		{Path: "/controller/write", Outcome: "failed", Handler: controllerWrite},
		{Path: "/controller/wall", Outcome: "failed", Handler: controllerWall},
		{Path: "/controller/left-over", Outcome: "failed", Handler: controllerLeavesAnswer},
		{Path: "/controller/write/ok", Handler: controllerLifted},
		{Path: "/controller/longer/ok", Handler: controllerLonger},
		{Path: "/controller/read", Handler: controllerRead},
		{Path: "/controller/read/ok", Handler: controllerReadLifted},
	}
}

func controllerWrite(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch controller deadline
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // want: timeout-mismatch controller timer
	downstream.Pause(ctx, 400*time.Millisecond)
	_, _ = w.Write([]byte("ok\n"))
	_ = http.NewResponseController(w).Flush() // want: timeout-mismatch controller
	time.Sleep(brief)
}

// The time has been through a text, and lost the reading of the monotonic clock.
func controllerWall(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch wall deadline
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(parsed(200 * time.Millisecond)) // want: timeout-mismatch wall timer
	downstream.Pause(ctx, 400*time.Millisecond)
	_, _ = w.Write([]byte("ok\n"))
	_ = http.NewResponseController(w).Flush() // want: timeout-mismatch wall
	time.Sleep(brief)
}

// The answer is so small that it is written when the handler has returned.
func controllerLeavesAnswer(w http.ResponseWriter, r *http.Request) { // want: timeout-mismatch controller-left
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route) // want: timeout-mismatch controller-left deadline
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // want: timeout-mismatch controller-left timer
	downstream.Pause(ctx, 400*time.Millisecond)
	_, _ = w.Write([]byte("ok\n"))
}

func controllerLifted(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), route)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	downstream.Pause(ctx, 400*time.Millisecond)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	send(w)
}

// The handler gives itself longer than the server's WriteTimeout, and needs it.
func controllerLonger(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(8 * time.Second))
	downstream.Pause(ctx, writeTimeout+brief)
	send(w)
}

// The deadline for reading the body is still there when the work begins.
func controllerRead(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(brief)) // want: premature-cancel controller timer
	downstream.Pause(r.Context(), long)                                      // want: premature-cancel controller
	send(w)
}

func controllerReadLifted(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(brief))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	downstream.Pause(r.Context(), 2*brief)
	send(w)
}
