// Package downstream is the service that the target programs call. It is healthy: every handler stops when
// its caller leaves. It runs on its own listener inside the program, or in another one (see Handler).
package downstream

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Handler serves, below prefix: /slow?ms= (answers after ms), /echo (the request's body), /body?chunks=&ms=
// (64 KiB chunks, ms between them), /json.
func Handler(prefix string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc(prefix+"/slow", slow)
	mux.HandleFunc(prefix+"/echo", echo)
	mux.HandleFunc(prefix+"/body", body)
	mux.HandleFunc(prefix+"/json", item)
	return mux
}

// Start serves Handler on a loopback port of its own and returns its base URL.
func Start() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(ln, Handler(""))) }()
	return "http://" + ln.Addr().String()
}

// Pause waits for d, and reports false when ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func slow(w http.ResponseWriter, r *http.Request) {
	if Pause(r.Context(), millis(r, "ms", 0)) {
		fmt.Fprintln(w, "ok")
	}
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func body(w http.ResponseWriter, r *http.Request) {
	chunk := make([]byte, 64<<10)
	flusher, _ := w.(http.Flusher)
	for i := number(r, "chunks", 8); i > 0; i-- {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		flusher.Flush()
		if !Pause(r.Context(), millis(r, "ms", 100)) {
			return
		}
	}
}

func item(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":7,"name":"lamp","cents":1999}`)
}

func millis(r *http.Request, name string, otherwise int) time.Duration {
	return time.Duration(number(r, name, otherwise)) * time.Millisecond
}

func number(r *http.Request, name string, otherwise int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}
