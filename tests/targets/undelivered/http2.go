package main

import (
	"fmt"
	"log"
	"net"
	"net/http"

	"example.com/observer-targets/internal/selfsigned"
)

// serveTLS serves HTTP/2 and HTTP/1.1 over TLS, at the address of the line `listening-tls ADDR`.
func serveTLS(handler http.Handler) {
	config, _ := selfsigned.New()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening-tls", ln.Addr())
	srv := &http.Server{Handler: handler, TLSConfig: config}
	go func() { _ = srv.ServeTLS(ln, "", "") }()
}

// The client has broken the protocol. The server says so, reads no more, and gives the connection up a second later: so
// long nobody sees that the client has left.
func http2Open(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered http2-open
}

// Of a connection that the server reads it is told at once.
func http2Told(w http.ResponseWriter, r *http.Request) { <-either(r, work) }

// HTTP/1.1 over TLS is watched, and not watched, as it is without.
func overTLS(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered tls
}
