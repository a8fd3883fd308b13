package main

import (
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
)

// locked are goroutines that wait for a lock, or for each other.
func locked() []app.Route {
	return []app.Route{
		route("/lost-done", func(*http.Request) { lostDone(2) }),
		route("/lost-done/ok", func(*http.Request) { lostDone(1) }),
		route("/unlock", func(*http.Request) { unlock(false) }),
		route("/unlock/ok", func(*http.Request) { unlock(true) }),
		route("/order", func(*http.Request) { order(false) }),
		route("/order/ok", func(*http.Request) { order(true) }),
		route("/rlock", func(*http.Request) { rlock(false) }),
		route("/rlock/ok", func(*http.Request) { rlock(true) }),
		route("/wlock", func(*http.Request) { wlock(false) }),
		route("/wlock/ok", func(*http.Request) { wlock(true) }),
		route("/cond", func(*http.Request) { cond(false) }),
		route("/cond/ok", func(*http.Request) { cond(true) }),
	}
}

// lostDone waits for one part, or for one more than there are.
func lostDone(parts int) {
	var all sync.WaitGroup
	all.Add(parts)
	all.Done()
	go func() { all.Wait() }() // want: goroutine-leak lost-done
}

// unlock keeps the lock on the way out that is for errors.
func unlock(fine bool) {
	var mu sync.Mutex
	mu.Lock()
	if stock(fine) == nil {
		mu.Unlock()
	}
	go func() { // want: goroutine-leak unlock
		mu.Lock()
		mu.Unlock() //nolint:staticcheck // that it gets it is all
	}()
}

// order takes two locks, in one order or in both.
func order(same bool) {
	var stock, price sync.Mutex
	first, second := &price, &stock
	if same {
		first, second = &stock, &price
	}
	go both(&stock, &price) // want: goroutine-leak order
	go both(first, second)  // want: goroutine-leak order-too
}

func both(first, second *sync.Mutex) {
	first.Lock()
	defer first.Unlock()
	time.Sleep(20 * time.Millisecond)
	second.Lock()
	defer second.Unlock()
}

func rlock(fine bool) {
	var mu sync.RWMutex
	mu.Lock()
	if fine {
		mu.Unlock()
	}
	go func() { // want: goroutine-leak rlock
		mu.RLock()
		defer mu.RUnlock()
	}()
}

func wlock(fine bool) {
	var mu sync.RWMutex
	mu.RLock()
	if fine {
		mu.RUnlock()
	}
	go func() { // want: goroutine-leak wlock
		mu.Lock()
		defer mu.Unlock()
	}()
}

// cond waits for a state; whoever reaches it does not always signal.
func cond(signal bool) {
	var mu sync.Mutex
	ready := sync.NewCond(&mu)
	state := false
	go func() { // want: goroutine-leak cond
		mu.Lock()
		defer mu.Unlock()
		for !state {
			ready.Wait()
		}
	}()
	time.Sleep(10 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	if signal {
		state = true
		ready.Signal()
	}
}
