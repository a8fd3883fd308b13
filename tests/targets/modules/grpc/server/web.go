package main

import (
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
	"google.golang.org/grpc"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/selfsigned"
)

// serveHTTP serves gRPC as the handler of a server of net/http, over TLS: HTTP/2 is net/http's own there.
func serveHTTP(server *grpc.Server) net.Addr {
	ln := listen()
	config, _ := selfsigned.New()
	web := &http.Server{Handler: server, TLSConfig: config}
	go func() { log.Fatal(web.ServeTLS(ln, "", "")) }()
	return ln.Addr()
}

// serveH2C serves gRPC as many do beside HTTP on one port: HTTP/2 is golang.org/x/net's there, on connections that
// net/http has let go.
func serveH2C(server *grpc.Server) net.Addr {
	ln := listen()
	web := &http.Server{Handler: h2c.NewHandler(server, new(http2.Server))}
	go func() { log.Fatal(web.Serve(ln)) }()
	return ln.Addr()
}

// serveHTTP2 serves routes by golang.org/x/net's HTTP/2, over TLS.
func serveHTTP2() net.Addr {
	ln := listen()
	config, _ := selfsigned.New()
	mux := http.NewServeMux()
	mux.HandleFunc("/sleep/reset", sleepReset)
	mux.HandleFunc("/sleep/leave", sleepLeave)
	mux.HandleFunc("/sleep/ok", sleepWell)
	web := &http.Server{Handler: mux, TLSConfig: config}
	if err := http2.ConfigureServer(web, nil); err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(web.ServeTLS(ln, "", "")) }()
	return ln.Addr()
}

// Its client resets the stream.
func sleepReset(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(long) // want: cancel-ignored http2-reset
}

// Its client's connection goes.
func sleepLeave(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(long) // want: cancel-ignored http2-leave
}

func sleepWell(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	downstream.Pause(r.Context(), long)
}
