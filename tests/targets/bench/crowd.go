package main

import (
	"sync"
	"time"
)

// startCrowd starts goroutines that wait, and comes back when all are about to.
func startCrowd(size int) {
	var arrived sync.WaitGroup
	arrived.Add(size)
	c := &crowd{quiet: make(chan int), closed: make(chan struct{})}
	c.gate.Lock()
	for n := 0; n < size; n++ {
		go c.wait(n%4, n%5, &arrived)
	}
	arrived.Wait()
}

// crowd is what its members wait for in vain.
type crowd struct {
	quiet  chan int
	closed chan struct{}
	gate   sync.Mutex
}

//go:noinline
func (c *crowd) wait(kind, depth int, arrived *sync.WaitGroup) {
	if depth > 0 {
		c.wait(kind, depth-1, arrived)
		return
	}
	arrived.Done()
	switch kind {
	case 0:
		<-c.quiet
	case 1:
		select {
		case <-c.quiet:
		case <-c.closed:
		}
	case 2:
		c.gate.Lock()
	case 3:
		time.Sleep(time.Hour)
	}
}
