package main

import (
	"runtime"
	"sync"
)

// box holds a channel that somebody waits for, in one place of many.
type box struct {
	sync.Mutex
	kept []*holder
	more map[int]*holder
}

// holder is made anew for each move.
type holder struct {
	pad     [6]uintptr
	results chan int
}

// churn starts goroutines that wait, and others that hand on what they wait for, without a pause.
func churn() {
	const waiters, movers = 64, 4
	boxes := make([]*box, 16)
	for i := range boxes {
		boxes[i] = &box{more: map[int]*holder{}}
	}
	for i := 0; i < waiters; i++ {
		away(func() {
			results := make(chan int)
			boxes[i%len(boxes)].kept = append(boxes[i%len(boxes)].kept, &holder{results: results})
			waits("held", "moved", func() { <-results })
		})
	}
	for i := 0; i < movers; i++ {
		go func(at int) {
			for n := at; ; n++ {
				results := boxes[n%len(boxes)].take()
				if results == nil {
					continue
				}
				if n%3 == 0 {
					runtime.Gosched()
				}
				boxes[(n*7+at)%len(boxes)].keep(n, &holder{results: results})
			}
		}(i)
	}
}

func (b *box) take() chan int {
	b.Lock()
	defer b.Unlock()
	if last := len(b.kept) - 1; last >= 0 {
		results := b.kept[last].results
		b.kept[last] = nil
		b.kept = b.kept[:last]
		return results
	}
	for n, of := range b.more {
		delete(b.more, n)
		return of.results
	}
	return nil
}

func (b *box) keep(n int, of *holder) {
	b.Lock()
	defer b.Unlock()
	if n%2 == 0 {
		b.kept = append(b.kept, of)
	} else {
		b.more[n] = of
	}
}

// swaps starts goroutines that wait, and others that put what they wait for elsewhere in one array, without a pause and
// without new memory.
func swaps() {
	const waiters, movers = 64, 2
	var (
		guard sync.Mutex
		slots = make([]chan int, 4096)
	)
	for i := 0; i < waiters; i++ {
		away(func() {
			results := make(chan int)
			slots[i] = results
			waits("held", "swapped", func() { <-results })
		})
	}
	for i := 0; i < movers; i++ {
		go func(seed uint32) {
			for {
				seed = seed*1664525 + 1013904223
				guard.Lock()
				from, to := seed>>8%4096, seed>>20%4096
				slots[from], slots[to] = slots[to], slots[from]
				guard.Unlock()
			}
		}(uint32(i))
	}
}
