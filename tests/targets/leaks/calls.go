package main

import (
	"net/http"
	"syscall"
	"time"

	"example.com/observer-targets/internal/app"
)

// calls are goroutines that the kernel keeps, with their threads.
func calls() []app.Route {
	return []app.Route{
		route("/syscall", func(*http.Request) { _, _ = piped() }),
		route("/syscall/ok", func(*http.Request) {
			if end, err := piped(); err == nil {
				time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Close(end) })
			}
		}),
		route("/syscalls/ok", func(*http.Request) { polls() }),
	}
}

// piped reads from a pipe into which nobody writes, as Cmd.Wait waits for a program that does not end.
func piped() (int, error) {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		return 0, err
	}
	go func() { // want: goroutine-leak syscall
		var buf [1]byte
		_, _ = syscall.Read(ends[0], buf[:])
	}()
	return ends[1], nil
}

// polls comes back from each call, and makes the next one at the same place, for longer than a leak by age takes.
func polls() {
	go func() {
		for begun := time.Now(); time.Since(begun) < 20*time.Second; {
			pause := syscall.NsecToTimespec(int64(50 * time.Millisecond))
			_ = syscall.Nanosleep(&pause, nil)
		}
	}()
}
