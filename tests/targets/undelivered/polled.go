package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

// servePolled serves at the address of the line `listening-polled ADDR`, over connections that wrap those of package net.
func servePolled(srv *http.Server) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening-polled", ln.Addr())
	go func() { _ = srv.Serve(polledListener{ln}) }()
}

type polledListener struct{ net.Listener }

func (l polledListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return polled{conn}, nil
}

// polled takes a read that times out for one that brought nothing. net/http's watching ends with the first of them.
type polled struct{ net.Conn }

func (c polled) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, err
}

func notWritten(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered not-written
}
