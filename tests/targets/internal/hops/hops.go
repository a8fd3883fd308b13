// Package hops is the service that clients are sent round by: redirects within one host and to another, with and
// without a body, over HTTP/1 and HTTP/2, and connections that die under their second request. Every handler stops
// when its caller leaves.
package hops

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"

	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/selfsigned"
)

// Service is where it listens.
type Service struct {
	// Plain is the base URL of HTTP/1, Secure that of HTTP/2 over TLS.
	Plain, Secure string
	// Other is the base URL of another host, of HTTP/1.
	Other string
	// Frail is the base URL of a host that closes each connection when its second request has come.
	Frail string
	// Refused is the base URL of a host where nobody listens.
	Refused string
	// Trust has the certificate of Secure.
	Trust *x509.CertPool
}

// Start serves until the process ends. Below each base URL but Frail's: what package downstream has, /chain?left=N
// (N redirects to itself), /away (a redirect to Other), /moved (307 to /kept, which answers with the body it gets), /aborted
// (an answer that ends halfway: over HTTP/2 its stream is reset) and /last (one after which the server wants no more: over
// HTTP/2 it says so by GOAWAY while it answers). The last hop answers after ?ms=.
func Start() *Service {
	config, pool := selfsigned.New()
	s := &Service{Trust: pool, Frail: "http://" + frail()}
	other := listen()
	s.Other = "http://" + other.Addr().String()
	go func() { log.Fatal(http.Serve(other, downstream.Handler(""))) }()
	plain, secure := listen(), listen()
	s.Plain, s.Secure = "http://"+plain.Addr().String(), "https://"+secure.Addr().String()
	go func() { log.Fatal(http.Serve(plain, s.handler())) }()
	srv := &http.Server{Handler: s.handler(), TLSConfig: config}
	go func() { log.Fatal(srv.ServeTLS(secure, "", "")) }()
	nobody := listen()
	s.Refused = "http://" + nobody.Addr().String()
	_ = nobody.Close()
	return s
}

func listen() net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

func (s *Service) handler() http.Handler {
	mux := downstream.Handler("")
	mux.HandleFunc("/chain", func(w http.ResponseWriter, r *http.Request) {
		left, _ := strconv.Atoi(r.URL.Query().Get("left"))
		if left > 0 {
			to := fmt.Sprintf("/chain?left=%d&ms=%s", left-1, r.URL.Query().Get("ms"))
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		if wait(r) {
			fmt.Fprintln(w, "ok")
		}
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.Other+"/slow?ms="+r.URL.Query().Get("ms"), http.StatusFound)
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/kept?ms="+r.URL.Query().Get("ms"), http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/aborted", func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/last", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		begin(w)
		if wait(r) {
			fmt.Fprintln(w, "ok")
		}
	})
	mux.HandleFunc("/kept", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && wait(r) {
			_, _ = w.Write(body)
		}
	})
	return mux
}

// begin sends a part of the answer.
func begin(w http.ResponseWriter) {
	fmt.Fprintln(w, "it begins")
	w.(http.Flusher).Flush()
}

func wait(r *http.Request) bool {
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	return downstream.Pause(r.Context(), time.Duration(ms)*time.Millisecond)
}

// frail answers the first request of each connection after its ?ms=, and closes when the second has come. It is no
// server of net/http, which would close in between.
func frail() string {
	ln := listen()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go once(conn)
		}
	}()
	return ln.Addr().String()
}

func once(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for answered := false; ; answered = true {
		req, err := http.ReadRequest(reader)
		if err != nil || answered {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		ms, _ := strconv.Atoi(req.URL.Query().Get("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"); err != nil {
			return
		}
	}
}
