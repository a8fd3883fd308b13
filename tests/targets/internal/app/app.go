// Package app is what every target program shares: the flags, the one line on stdout, the route list, the
// dump of its own goroutines and the exit on SIGTERM. It adds no frame between net/http and a handler, so
// the first frame below net/http is always the program's own.
package app

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"
)

var listen = flag.String("listen", "127.0.0.1:0", "address to listen on")

// exitBudget is how long running handlers may take after SIGTERM before the process leaves without them.
const exitBudget = 700 * time.Millisecond

// Route is one endpoint and how a test's client has to treat it.
type Route struct {
	Path string `json:"path"`
	// PatienceMS is when the client gives up, in milliseconds; 0 means that it waits for the answer.
	PatienceMS int `json:"patience_ms"`
	// Mode is the mode of the client program that this route is made for; empty means get.
	Mode string `json:"mode,omitempty"`
	// Outcome is what the client counts the request as: ok, dropped (when it has no patience) or failed (no answer).
	Outcome string `json:"outcome"`
	// Status is the answer's status; 0 means 200.
	Status  int              `json:"status,omitempty"`
	Handler http.HandlerFunc `json:"-"`
}

// RequestID reads the request's ID; observer has to find it without the program doing anything with it.
func RequestID(r *http.Request) string { return r.Header.Get("X-Request-Id") }

// Mux registers the routes directly, and beside them /all and /debug/goroutines.
func Mux(routes []Route) *http.ServeMux {
	mux := http.NewServeMux()
	for i := range routes {
		route := &routes[i]
		mux.HandleFunc(route.Path, route.Handler)
		if route.Outcome == "" && route.PatienceMS > 0 {
			route.Outcome = "dropped"
		} else if route.Outcome == "" {
			route.Outcome = "ok"
		}
	}
	mux.HandleFunc("/all", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(routes)
	})
	mux.HandleFunc("/debug/goroutines", func(w http.ResponseWriter, r *http.Request) {
		_ = pprof.Lookup("goroutine").WriteTo(w, 2)
	})
	// What the runtime itself calls leaked, from Go 1.27 on.
	if leaks := pprof.Lookup("goroutineleak"); leaks != nil {
		mux.HandleFunc("/debug/leaks", func(w http.ResponseWriter, r *http.Request) {
			_ = leaks.WriteTo(w, 2)
		})
	}
	return mux
}

// Listen parses nothing: call it after flag.Parse. The program is not yet ready, see Announce.
func Listen() net.Listener {
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

// Announce says on stdout that the program is ready.
func Announce(ln net.Listener) { fmt.Println("listening", ln.Addr()) }

// Run serves on the -listen address until SIGTERM or SIGINT, then exits with 0 within a second.
func Run(srv *http.Server) {
	ln := Listen()
	go func() {
		if err := srv.Serve(ln); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	Announce(ln)
	WaitForStop()
	Stop(srv)
}

// WaitForStop returns at the first SIGTERM or SIGINT.
func WaitForStop() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}

// Stop shuts the servers down within the exit budget and ends the process.
func Stop(servers ...*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), exitBudget)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	}
	os.Exit(0)
}

type connKey struct{}

// ConnContext is a Server.ConnContext that keeps the connection reachable for Conn.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// Conn is the connection a request came in on; it works on every Go version, unlike ResponseController.
func Conn(r *http.Request) net.Conn {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	return c
}
