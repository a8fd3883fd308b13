// Command undelivered has handlers whose clients' leaving net/http does not notice, and healthy twins of them.
//
// Every handler honours its context: whoever works on was not told. One handler for each case, because findings of
// one line are one. Beside the first listener there are one for TLS and one whose connections are wrapped; SIGUSR1
// opens another (`listening-late ADDR` on stdout), -unix another on a Unix socket.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/observer-targets/internal/app"
)

const work = 2 * time.Second

func main() {
	unix := flag.String("unix", "", "path of a Unix socket to serve too")
	flag.Parse()
	planted := map[string]http.HandlerFunc{
		"/fin": fin, "/reset": reset, "/fin-then-reset": finThenReset, "/pipelined": pipelined,
		"/keep-alive": keepAlive, "/early": early, "/late": late, "/ipv6": ipv6, "/mapped": mapped,
		"/expect": expects, "/pipelined-get": pipelinedGet, "/http2-open": http2Open, "/not-written": notWritten,
		"/tls": overTLS, "/proxied": proxied,
	}
	mux := app.Mux(nil)
	for path, handler := range planted {
		mux.HandleFunc(path, handler)
	}
	mux.HandleFunc("/read/ok", readFirst)
	mux.HandleFunc("/get/ok", quick)
	mux.HandleFunc("/get-left/ok", readFirst)
	mux.HandleFunc("/kept/ok", kept)
	mux.HandleFunc("/http2/ok", http2Told)
	mux.HandleFunc("/in-time/ok", inTime)
	mux.HandleFunc("/write/ok", writes)
	mux.HandleFunc("/hijack/ok", hijacks)
	mux.HandleFunc("/unix/ok", overUnix)
	srv := &http.Server{Handler: mux}
	serveTLS(mux)
	servePolled(srv)
	if *unix != "" {
		ln, err := net.Listen("unix", *unix)
		if err != nil {
			log.Fatal(err)
		}
		go func() { _ = srv.Serve(ln) }()
	}
	go func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGUSR1)
		<-again
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("listening-late", ln.Addr())
		_ = srv.Serve(ln)
	}()
	app.Run(srv)
}

// either is closed when the work is done, or when the context says that nobody wants it.
func either(r *http.Request, d time.Duration) <-chan struct{} {
	app.RequestID(r)
	over := make(chan struct{})
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		close(over)
	}()
	return over
}

// The body is unread in all of these but pipelined.

func fin(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered fin
}

func reset(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered reset
}

// The client closes; the first piece of the answer meets nobody and is answered by a reset.
func finThenReset(w http.ResponseWriter, r *http.Request) {
	over := either(r, work)
	time.Sleep(1200 * time.Millisecond) // want: cancel-undelivered fin-then-reset
	fmt.Fprintln(w, "anybody?")
	w.(http.Flusher).Flush()
	<-over
}

func pipelined(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered pipelined
}

func pipelinedGet(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered pipelined-get
}

// The peer is a proxy, which closes when its own client does. It has sent the whole body.
func proxied(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered proxied
}

// The second request of its connection.
func keepAlive(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered keep-alive
}

// Over a connection that is older than the observer.
func early(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered early
}

// Over a listener that is younger than the observer.
func late(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered late
}

func ipv6(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered ipv6
}

// IPv4 over a listener of both families.
func mapped(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered mapped
}

// The client waits for a word before it sends its body.
func expects(w http.ResponseWriter, r *http.Request) {
	<-either(r, work) // want: cancel-undelivered expect
}

// With the body read, net/http watches the connection.
func readFirst(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-either(r, work)
}

// The proxy in front does not tell that its client has left.
func kept(w http.ResponseWriter, r *http.Request) { <-either(r, work) }

func quick(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	fmt.Fprintln(w, "ok")
}

// The client closes its half, and the answer comes 300 ms later.
func inTime(w http.ResponseWriter, r *http.Request) {
	<-either(r, 600*time.Millisecond)
	fmt.Fprintln(w, "ok")
}

// A write tells what nobody reads.
func writes(w http.ResponseWriter, r *http.Request) {
	over := either(r, work)
	for {
		select {
		case <-over:
			return
		case <-time.After(50 * time.Millisecond):
			fmt.Fprintln(w, "still here")
			w.(http.Flusher).Flush()
		}
	}
}

// Whoever takes the connection over watches it himself, or does without.
func hijacks(w http.ResponseWriter, r *http.Request) {
	over := either(r, work)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	<-over
}

// The kernel does not tell when a peer on a Unix socket closes.
func overUnix(w http.ResponseWriter, r *http.Request) { <-either(r, work) }
