package main

import (
	"bytes"
	"context"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

var (
	buffered = make(chan int, 4)
	gate     sync.Mutex
	once     sync.Once
	arrived  int64
	mutual   = make(chan int)
)

func sendsFull() {
	for n := 0; ; n++ {
		buffered <- n
	}
}

// The profiler's labels, which those that it starts have, too.
func labelled() {
	labels := pprof.Labels("region", "eu", "tier", "gold")
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), labels))
	go inheritsLabels()
	<-empty
}

func inheritsLabels() { <-empty }

// A select with the same channel in two cases.
func waitsTwice() {
	select {
	case <-first:
	case n := <-first:
		first <- n
	}
}

//go:noinline
func waitsFor(from chan int, _ string) { <-from }

// startCrowd starts so many goroutines that wait, each in one of several ways below one of several depths, and comes back
// when all do.
func startCrowd(size int) {
	once.Do(gate.Lock)
	before := atomic.LoadInt64(&arrived)
	for n := 0; n < size; n++ {
		go crowded(n%7, n%5)
	}
	for atomic.LoadInt64(&arrived) < before+int64(size) {
		time.Sleep(time.Millisecond)
	}
	settle()
}

// settle comes back when every other goroutine waits.
func settle() {
	for {
		time.Sleep(5 * time.Millisecond)
		var dump bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&dump, 2)
		running := bytes.Count(dump.Bytes(), []byte(" [running"))
		if running <= 1 && !bytes.Contains(dump.Bytes(), []byte(" [runnable")) {
			return
		}
	}
}

// startDeep starts a goroutine that waits below so many mebibytes of frames, and comes back when it does.
func startDeep(mebibytes int) {
	before := atomic.LoadInt64(&arrived)
	go descends(mebibytes * 16)
	for atomic.LoadInt64(&arrived) == before {
		time.Sleep(time.Millisecond)
	}
	settle()
}

// startFamily starts a goroutine that starts another one, and so on for so many generations, and comes back when all have.
// Every other one ends at once.
func startFamily(generations int) {
	before := atomic.LoadInt64(&arrived)
	go generation(generations)
	for atomic.LoadInt64(&arrived) < before+int64(generations) {
		time.Sleep(time.Millisecond)
	}
	settle()
}

func generation(left int) {
	if left > 1 {
		go generation(left - 1)
	}
	atomic.AddInt64(&arrived, 1)
	if left%2 == 1 {
		<-empty
	}
}

//go:noinline
func descends(left int) byte {
	var frame [64 << 10]byte
	frame[left] = byte(left)
	if left == 0 {
		atomic.AddInt64(&arrived, 1)
		<-empty
		return 0
	}
	return frame[left] + descends(left-1)
}

//go:noinline
func crowded(kind, depth int) {
	if depth > 0 {
		crowded(kind, depth-1)
		return
	}
	atomic.AddInt64(&arrived, 1)
	switch kind {
	case 0:
		<-mutual
	case 1:
		full <- kind
	case 2:
		select {
		case <-mutual:
		case <-first:
		}
	case 3:
		gate.Lock()
	case 4:
		waitGroup.Wait()
	case 5:
		time.Sleep(time.Hour)
	case 6:
		inner()
	}
}
