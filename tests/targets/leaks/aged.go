package main

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"

	"example.com/observer-targets/internal/app"
)

// aged are goroutines that something could still wake, and nothing does.
func aged() []app.Route {
	return []app.Route{
		route("/sender", func(*http.Request) { sender(make(chan int)) }),
		route("/sender/ok", func(*http.Request) { sender(make(chan int, 1)) }),
		route("/receiver", receiver),
		route("/receiver/ok", receiverOK),
		route("/early-return", func(*http.Request) { _ = earlyReturn(make(chan int)) }),
		route("/early-return/ok", func(*http.Request) { _ = earlyReturn(make(chan int, 1)) }),
		route("/double-receive", doubleReceive),
		route("/double-receive/ok", doubleReceiveOK),
		route("/range", func(*http.Request) { ranges() }),
		route("/range/ok", func(*http.Request) { close(ranges()) }),
		route("/generator", func(r *http.Request) { generator(context.Background()) }),
		route("/generator/ok", func(r *http.Request) { generator(r.Context()) }),
		route("/ticker", func(r *http.Request) { ticker(context.Background()) }),
		route("/ticker/ok", func(r *http.Request) { ticker(r.Context()) }),
		route("/after", func(r *http.Request) { afterLoop(context.Background()) }),
		route("/after/ok", func(r *http.Request) { afterLoop(r.Context()) }),
		route("/stopped-timer", stoppedTimer),
		route("/stopped-timer/ok", stoppedTimerOK),
		route("/semaphore", func(*http.Request) { semaphore(false) }),
		route("/semaphore/ok", func(*http.Request) { semaphore(true) }),
		route("/background", func(*http.Request) { worker(context.Background()) }),
		route("/background/ok", func(r *http.Request) { worker(r.Context()) }),
		route("/grandchild", func(*http.Request) { grandchild(make(chan int)) }),
		route("/grandchild/ok", func(*http.Request) { grandchild(make(chan int, 1)) }),
		route("/method", func(*http.Request) { (&job{done: make(chan struct{})}).start() }),
		route("/method/ok", func(*http.Request) { (&job{done: make(chan struct{}, 1)}).start() }),
		route("/sleep", func(r *http.Request) { sleeps(context.Background()) }),
		route("/sleep/ok", func(r *http.Request) { sleeps(r.Context()) }),
		route("/worked", func(*http.Request) { worked(make(chan int)) }),
		route("/worked/ok", func(*http.Request) { worked(make(chan int, 1)) }),
		route("/read", func(*http.Request) { reads(0) }),
		route("/read/ok", func(*http.Request) { reads(100 * time.Millisecond) }),
	}
}

// sender: nobody waits for the answer any more.
func sender(answer chan int) {
	go func() { answer <- 7 }() // want: goroutine-leak sender
}

func receiver(*http.Request) {
	jobs := make(chan int)
	go func() { <-jobs }() // want: goroutine-leak receiver
}

func receiverOK(*http.Request) {
	jobs := make(chan int)
	go func() { <-jobs }()
	jobs <- 7
}

var collects = flag.Bool("collect", false, "collect garbage before and after /worked begins to wait")

// worked waits only after a while. What a collection then notes of the wait is the end of the one before.
func worked(answer chan int) {
	collect()
	go func() { // want: goroutine-leak worked
		time.Sleep(1500 * time.Millisecond)
		time.AfterFunc(100*time.Millisecond, collect)
		answer <- 7
	}()
}

func collect() {
	if *collects {
		runtime.GC()
	}
}

// earlyReturn leaves before it receives.
func earlyReturn(found chan int) error {
	go func() { found <- 7 }() // want: goroutine-leak early-return
	if err := stock(false); err != nil {
		return err
	}
	<-found
	return nil
}

func doubleReceive(*http.Request) {
	once := make(chan int, 1)
	once <- 7
	go func() { // want: goroutine-leak double-receive
		<-once
		<-once
	}()
}

func doubleReceiveOK(*http.Request) {
	twice := make(chan int, 2)
	twice <- 7
	twice <- 7
	go func() {
		<-twice
		<-twice
	}()
}

// ranges hands out what its goroutine ranges over.
func ranges() chan int {
	jobs := make(chan int)
	go func() { // want: goroutine-leak range
		for range jobs {
		}
	}()
	return jobs
}

// generator makes numbers until its context ends; nobody takes more than one.
func generator(ctx context.Context) {
	numbers := make(chan int)
	go func() { // want: goroutine-leak generator
		for n := 0; ; n++ {
			select {
			case numbers <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	<-numbers
}

func ticker(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	go func() { // want: goroutine-leak ticker
		defer tick.Stop()
		for range tick.C {
			if ctx.Err() != nil {
				return
			}
		}
	}()
}

func afterLoop(ctx context.Context) {
	news := make(chan int)
	go func() { // want: goroutine-leak after
		for {
			select {
			case <-news:
			case <-ctx.Done():
				return
			case <-time.After(80 * time.Millisecond):
			}
		}
	}()
}

func stoppedTimer(*http.Request) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	go func() { <-timer.C }() // want: goroutine-leak stopped-timer
}

func stoppedTimerOK(*http.Request) {
	timer := time.NewTimer(50 * time.Millisecond)
	go func() { <-timer.C }()
}

// semaphore: who has a place does not always give it back.
func semaphore(release bool) {
	places := make(chan struct{}, 1)
	places <- struct{}{}
	if release {
		<-places
	}
	go func() { // want: goroutine-leak semaphore
		places <- struct{}{}
		<-places
	}()
}

// worker waits for jobs or the end of its context, which for Background never comes.
func worker(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	jobs := make(chan int)
	go func() { // want: goroutine-leak background
		defer cancel()
		select {
		case <-jobs:
		case <-ctx.Done():
		}
	}()
}

// grandchild: the one that leaks is started by one that ends.
func grandchild(answer chan int) {
	go func() {
		go func() { answer <- 7 }() // want: goroutine-leak grandchild
	}()
}

type job struct{ done chan struct{} }

func (j *job) start() {
	go j.run() // want: goroutine-leak method
}

func (j *job) run() { j.done <- struct{}{} }

func sleeps(ctx context.Context) {
	go func() { // want: goroutine-leak sleep
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
		}
	}()
}

// reads from a peer that says nothing, and leaves after a while or never.
func reads(leaves time.Duration) {
	near, err := silent(leaves)
	if err != nil {
		panic(err) // the loopback interface is there
	}
	go func() { // want: goroutine-leak read
		defer near.Close()
		_, _ = io.Copy(io.Discard, near)
	}()
}

// silent connects to a listener that does not answer.
func silent(leaves time.Duration) (net.Conn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	near, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		return nil, err
	}
	far, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	if leaves > 0 {
		time.AfterFunc(leaves, func() { _ = far.Close() })
	} else {
		kept = append(kept, far)
	}
	return near, nil
}

// kept are peers that stay; one request at a time adds to them.
var kept []net.Conn
