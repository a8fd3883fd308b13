package main

import (
	"net/http"
	"sync"
	"time"
)

// Actors live for so much longer than what the test takes for a leak, and work every now and then.
const (
	actorLife = 8 * time.Second
	actorRest = 50 * time.Millisecond
)

// An actor waits for work at one line, and gets it.
type actor struct {
	since time.Time
	wake  func()
	end   func()
}

var actors struct {
	sync.Mutex
	all []actor
}

// feed gives all actors work until their time is over. It is nobody's request's.
func feed() {
	for range time.Tick(actorRest) {
		actors.Lock()
		alive := actors.all[:0]
		for _, it := range actors.all {
			if time.Since(it.since) < actorLife {
				it.wake()
				alive = append(alive, it)
			} else {
				it.end()
			}
		}
		actors.all = alive
		actors.Unlock()
	}
}

func employ(wake, end func()) {
	actors.Lock()
	defer actors.Unlock()
	actors.all = append(actors.all, actor{time.Now(), wake, end})
}

// boxed is told by a channel with room for one.
func boxed(*http.Request) {
	box := make(chan struct{}, 1)
	go func() {
		for range box {
		}
	}()
	tell := func() {
		select {
		case box <- struct{}{}:
		default:
		}
	}
	employ(tell, func() { close(box) })
}

// chosen has two channels to choose from.
func chosen(*http.Request) {
	work, quit := make(chan int), make(chan struct{})
	go func() {
		for {
			select {
			case <-work:
			case <-quit:
				return
			}
		}
	}()
	tell := func() {
		select {
		case work <- 1:
		default:
		}
	}
	employ(tell, func() { close(quit) })
}

// queued waits for a condition.
func queued(*http.Request) {
	var lock sync.Mutex
	some, jobs, over := sync.NewCond(&lock), 0, false
	go func() {
		lock.Lock()
		defer lock.Unlock()
		for !over {
			for jobs == 0 && !over {
				some.Wait()
			}
			jobs = 0
		}
	}()
	change := func(to func()) func() {
		return func() {
			lock.Lock()
			defer lock.Unlock()
			to()
			some.Signal()
		}
	}
	employ(change(func() { jobs++ }), change(func() { over = true }))
}
