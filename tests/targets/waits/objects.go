package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// kept holds on to everything whose address was told.
var kept []interface{}

func words(iface unsafe.Pointer) (uintptr, uintptr) {
	pair := (*[2]uintptr)(iface)
	return pair[0], pair[1]
}

func printObjects() {
	printErrors()
	printContexts()
	for _, n := range []int{0, 1, 7, 8, 9, 30, 500} {
		printRequest(n)
	}
}

func printError(kind string, err error) {
	held := new(error)
	*held = err
	kept = append(kept, held)
	itab, data := words(unsafe.Pointer(held))
	fmt.Printf("ERROR %s %#x %#x\n", kind, itab, data)
}

func printErrors() {
	expired, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	reset := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ECONNRESET)}
	printError("eof", io.EOF)
	printError("connection-reset", reset)
	printError("broken-pipe", &net.OpError{Op: "write", Err: syscall.EPIPE})
	printError("errno", os.NewSyscallError("write", syscall.ENOSPC))
	printError("io-deadline", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded})
	printError("net-closing", &net.OpError{Op: "read", Err: net.ErrClosed})
	printError("canceled", context.Canceled)
	printError("deadline-exceeded", expired.Err())
	printError("other", errors.New("anything"))
	printError("nil", nil)
}

type custom struct{ context.Context }

func printContext(name string, ctx context.Context) {
	held := new(context.Context)
	*held = ctx
	kept = append(kept, held)
	itab, data := words(unsafe.Pointer(held))
	fmt.Printf("CONTEXT %s %#x %#x\n", name, itab, data)
}

func printContexts() {
	type key struct{}
	root, cancelRoot := context.WithCancel(context.Background())
	value := context.WithValue(root, key{}, "value")
	timed, cancelTimed := context.WithTimeout(value, time.Hour)
	leaf, cancelLeaf := context.WithCancel(timed)
	done := leaf.Done()
	opaque, cancelOpaque := context.WithCancel(custom{root})
	dead, cancelDead := context.WithCancel(context.TODO())
	cancelDead()
	late, cancelLate := context.WithTimeout(root, 0)
	kept = append(kept, cancelRoot, cancelTimed, cancelLeaf, cancelOpaque, cancelLate)
	printContext("root", root)
	printContext("timed", timed)
	printContext("leaf", leaf)
	printContext("opaque", opaque)
	printContext("dead", dead)
	printContext("late", late)
	fmt.Printf("DONE leaf %p\n", done)
	wide, cancelWide := context.WithCancel(context.Background())
	kept = append(kept, cancelWide)
	for n := 0; n < 100; n++ {
		child, cancelChild := context.WithCancel(wide)
		kept = append(kept, child, cancelChild)
	}
	printContext("wide", wide)
}

func printRequest(headers int) {
	request, err := http.NewRequest("GET", "http://shop.example/report", nil)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	request = request.WithContext(ctx)
	request.RemoteAddr = "10.0.3.9:51322"
	for n := 0; n < headers; n++ {
		request.Header.Set(fmt.Sprintf("X-Number-%d", n), fmt.Sprint("value ", n))
	}
	kept = append(kept, request, cancel)
	_, data := words(unsafe.Pointer(&ctx))
	fmt.Printf("REQUEST %d %p %#x\n", headers, request, data)
}

// startServing gets connections into a state worth reading: one hijacked, one whose peer left, one whose body is unread,
// one with a byte of the next request, and one that is watched.
func startServing() {
	told := make(chan string)
	mux := http.NewServeMux()
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		taken, _, err := w.(http.Hijacker).Hijack()
		kept = append(kept, w, taken)
		told <- connFact("hijacked", w, r, err)
		<-empty
	})
	mux.HandleFunc("/gone", func(w http.ResponseWriter, r *http.Request) {
		kept = append(kept, w)
		chunk := make([]byte, 1<<16)
		var err error
		for err == nil {
			_, err = w.Write(chunk)
		}
		told <- connFact("gone", w, r, err)
		<-empty
	})
	for _, kind := range []string{"unread", "pipelined", "watched"} {
		kind := kind
		mux.HandleFunc("/"+kind, func(w http.ResponseWriter, r *http.Request) {
			kept = append(kept, w)
			time.Sleep(50 * time.Millisecond) // for what the server reads in the background
			told <- connFact(kind, w, r, nil)
			<-empty
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
		server := &http.Server{
		Handler:           mux,
		ReadTimeout:       31 * time.Second,
		ReadHeaderTimeout: 32 * time.Second,
		WriteTimeout:      33 * time.Second,
		IdleTimeout:       34 * time.Second,
	}
	go server.Serve(listener)
	bodies := map[string]string{"/unread": "Content-Length: 9\r\n\r\nhalf", "/pipelined": "\r\n"}
	for _, path := range []string{"/hijack", "/gone", "/unread", "/pipelined", "/watched"} {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			panic(err)
		}
		kept = append(kept, client)
		rest, method := bodies[path], "GET"
		if rest == "" {
			rest = "\r\n"
		}
		if path == "/unread" {
			method = "POST"
		}
		fmt.Fprintf(client, "%s %s HTTP/1.1\r\nHost: shop.example\r\n%s", method, path, rest)
		if path == "/pipelined" {
			time.Sleep(20 * time.Millisecond)
			fmt.Fprint(client, "G")
		}
		if path == "/gone" {
			client.(*net.TCPConn).SetLinger(0)
			time.Sleep(50 * time.Millisecond)
			client.Close()
		}
		fmt.Println(<-told)
	}
}

// connFact tells what observer has to find: connection, response, the request's context, and both ends.
func connFact(kind string, w http.ResponseWriter, r *http.Request, err error) string {
	_, response := words(unsafe.Pointer(&w))
	ctx := r.Context()
	itab, data := words(unsafe.Pointer(&ctx))
	kept = append(kept, r)
	local := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return fmt.Sprintf("CONN %s %#x %#x %#x %#x %s %d %v",
		kind, connOf(w), response, itab, data, r.RemoteAddr, local.Port, err)
}

// connOf is the *http.conn of a *http.response, its first field in every version.
func connOf(w http.ResponseWriter) uintptr {
	_, response := words(unsafe.Pointer(&w))
	return *(*uintptr)(unsafe.Pointer(response)) //nolint: the response is alive in w
}
