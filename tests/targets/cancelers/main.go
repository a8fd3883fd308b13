// Command cancelers produces every way in which a request's context is cancelled over HTTP/1 and HTTP/2, and
// the corners of net/http in which it is not: a route each, plus signals for what concerns the whole server.
//
//	SIGUSR1  Server.Close with handlers running
//	SIGUSR2  cancels the base context with handlers running
//	SIGHUP   Server.Shutdown, which waits for handlers, as long as -patience says
//
// After each of them the process stays until SIGTERM, so that the handlers can be watched to their end. The
// same sits behind /admin/close, /admin/cancel-base and /admin/shutdown.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/selfsigned"
)

// server is the plain and the TLS listener with what ends them.
type server struct {
	plain, tls *http.Server
	cancelBase context.CancelFunc
	// patience is how long Shutdown waits.
	patience time.Duration
}

func main() {
	readTimeout := flag.Duration("read-timeout", 0, "Server.ReadTimeout")
	writeTimeout := flag.Duration("write-timeout", 0, "Server.WriteTimeout")
	idleTimeout := flag.Duration("idle-timeout", 0, "Server.IdleTimeout; 0: that of reading")
	patience := flag.Duration("patience", 10*time.Second, "how long Server.Shutdown waits")
	flag.Parse()

	base, cancelBase := context.WithCancel(context.Background())
	s := &server{cancelBase: cancelBase, patience: *patience}
	routes := append(cancelRoutes(), cornerRoutes()...)
	routes = append(routes, stubbornRoutes()...)
	routes = append(routes,
		app.Route{Path: "/admin/close", Handler: s.admin((*server).close)},
		app.Route{Path: "/admin/cancel-base", Handler: s.admin((*server).cancelAll)},
		app.Route{Path: "/admin/shutdown", Handler: s.admin((*server).shutdown)},
	)
	mux := app.Mux(routes)
	newServer := func() *http.Server {
		return &http.Server{
			Handler: mux, ReadTimeout: *readTimeout, WriteTimeout: *writeTimeout, IdleTimeout: *idleTimeout,
			ConnContext: app.ConnContext, BaseContext: func(net.Listener) context.Context { return base },
		}
	}
	s.plain, s.tls = newServer(), newServer()
	s.tls.TLSConfig, _ = selfsigned.New()

	ln := app.Listen()
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { complain(s.plain.Serve(ln)) }()
	go func() { complain(s.tls.ServeTLS(secure, "", "")) }()
	go s.obeySignals()
	app.Announce(ln)
	fmt.Println("listening-tls", secure.Addr())
	app.WaitForStop()
	app.Stop(s.plain, s.tls)
}

func complain(err error) {
	if err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func (s *server) obeySignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP)
	for sig := range signals {
		switch sig {
		case syscall.SIGUSR1:
			s.close()
		case syscall.SIGUSR2:
			s.cancelAll()
		case syscall.SIGHUP:
			s.shutdown()
		}
	}
}

func (s *server) close() {
	_ = s.plain.Close()
	_ = s.tls.Close()
}

func (s *server) cancelAll() { s.cancelBase() }

func (s *server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	_ = s.plain.Shutdown(ctx)
	_ = s.tls.Shutdown(ctx)
}

// admin answers first and acts a moment later, so that the answer arrives.
func (s *server) admin(act func(*server)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		time.AfterFunc(100*time.Millisecond, func() { act(s) })
		fmt.Fprintln(w, "ok")
	}
}
