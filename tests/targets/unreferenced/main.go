// Command unreferenced starts goroutines that wait for something that nobody can get at any more, and others that wait for
// something that is only far away. It prints `lost NAME GOID` and `held NAME GOID` of them, then `READY`, and lives until
// its input ends. It takes "collect" (a garbage collection), "leaks" (what the runtime itself calls leaked, from Go 1.27
// on), "churn" and "swap" (more that wait for what is handed on all the time, in new memory or in the same) and "grow" (20 MiB
// more of what has pointers), and answers each with `END`.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"
)

// node is reached over others.
type node struct {
	next    *node
	results chan int
}

type handle struct{ stop chan struct{} }

var (
	list     *node
	byName   = map[string]*handle{}
	anything []any
	mu       sync.Mutex
	pool     = make(chan chan int, 4)
)

// waits starts a goroutine, and a moment later says which it is.
func waits(kind, name string, wait func()) {
	told := make(chan string)
	go func() {
		var buf [64]byte
		text := string(buf[:runtime.Stack(buf[:], false)])
		told <- strings.Fields(text)[1]
		wait()
	}()
	goid, err := strconv.ParseUint(<-told, 10, 64)
	if err != nil {
		panic(err)
	}
	fmt.Println(kind, name, goid)
}

// away runs something on a stack that is gone afterwards.
func away(start func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		start()
	}()
	<-done
}

func lost() {
	away(func() {
		results := make(chan int)
		waits("lost", "sender", func() { results <- 1 })
	})
	away(func() {
		results := make(chan *node)
		waits("lost", "receiver", func() { fmt.Println(<-results) })
	})
	away(func() {
		one, other := make(chan int), make(chan string)
		waits("lost", "select", func() {
			select {
			case <-one:
			case other <- "x":
			}
		})
	})
	away(func() {
		full := make(chan int, 1)
		full <- 1
		waits("lost", "full", func() { full <- 2 })
	})
	// One keeps alive what the other waits for, and waits for what nobody has.
	away(func() {
		first, second := make(chan int), make(chan int)
		waits("lost", "first", func() {
			first <- 1
			second <- 1
		})
		waits("lost", "second", func() { second <- 1; close(first) })
	})
	away(func() {
		of := &node{results: make(chan int)}
		of.next = of
		waits("lost", "ring", func() { of.next.results <- 1 })
	})
}

func held() {
	away(func() {
		list = &node{next: &node{next: &node{results: make(chan int)}}}
		at := list.next.next
		waits("held", "list", func() { <-at.results })
	})
	away(func() {
		byName["one"] = &handle{stop: make(chan struct{})}
		stop := byName["one"].stop
		waits("held", "map", func() { <-stop })
	})
	away(func() {
		results := make(chan int)
		anything = append(anything, func() { close(results) })
		waits("held", "closure", func() { <-results })
	})
	away(func() {
		idle := make(chan int)
		pool <- idle
		waits("held", "buffered", func() { <-idle })
	})
	away(func() {
		results := make(chan int)
		time.AfterFunc(time.Hour, func() { results <- 1 })
		waits("held", "timer", func() { <-results })
	})
	away(func() {
		timer := time.NewTimer(time.Hour)
		waits("held", "after", func() { <-timer.C })
	})
	away(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		_ = cancel
		waits("held", "deadline", func() { <-ctx.Done() })
	})
	// The collector calls what wakes it.
	away(func() {
		of := &handle{stop: make(chan struct{})}
		stop := of.stop
		runtime.SetFinalizer(of, func(of *handle) { close(of.stop) })
		waits("held", "finalizer", func() { <-stop })
	})
	// Only a stack has it, of one that sleeps.
	away(func() {
		results := make(chan int)
		go func() {
			time.Sleep(time.Hour)
			close(results)
		}()
		waits("held", "sleeper", func() { <-results })
	})
	// Only a stack has it, of one that computes.
	away(func() {
		results := make(chan int)
		go func() {
			var from, to [256]byte
			for busy := 0; ; busy++ {
				if busy < 0 {
					close(results)
				}
				if busy%1000 == 0 {
					runtime.Gosched()
					// Whoever ran before has left what it was at in the registers in which this copies.
					copy(to[:], from[:busy/1000%2+255])
				}
			}
		}()
		waits("held", "busy", func() { <-results })
	})
	// One that waits for something held has what the other waits for.
	away(func() {
		key := &handle{stop: make(chan struct{})}
		byName["two"] = key
		results := make(chan int)
		waits("held", "by-waiter", func() { <-results })
		waits("held", "waiter", func() {
			<-key.stop
			close(results)
		})
	})
	mu.Lock()
	away(func() {
		waits("held", "mutex", func() { mu.Lock() })
	})
}

// leaf is 128 bytes of what has pointers.
type leaf struct {
	next *leaf
	rest [15]*leaf
}

var leaves *leaf

func grow() {
	for i := 0; i < 20<<20/128; i++ {
		leaves = &leaf{next: leaves}
	}
}

func main() {
	lost()
	held()
	locks()
	time.Sleep(100 * time.Millisecond)
	fmt.Println("READY")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "collect":
			runtime.GC()
		case "leaks":
			if leaks := pprof.Lookup("goroutineleak"); leaks != nil {
				leaks.WriteTo(os.Stdout, 2)
			}
		case "churn":
			churn()
		case "swap":
			swaps()
		case "grow":
			grow()
		}
		fmt.Println("END")
	}
	runtime.KeepAlive(pool)
}
