// Waits blocks goroutines in every way there is and tells what a reader of its memory must find.
//
// It prints facts, one a line, then READY. On standard input it takes "dump" (its own goroutine
// dump, ended by END), "busy" (goroutines that come, go and switch as fast as they can), "worked" (how much they have
// done), "crowd N" (N more that wait), "deep N" (one more, below N MiB of frames), "family N" (N more, each started by the
// one before, of which every other one ends) and "gc" (a garbage collection, at which the runtime notes who waits).
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var (
	empty, full   = make(chan int), make(chan int)
	first, second = make(chan int), make(chan string)
	never         chan int
	held          sync.Mutex
	heldRW        sync.RWMutex
	waitGroup     sync.WaitGroup
	condition     = sync.NewCond(&sync.Mutex{})
	listener      net.Listener
	pipe          [2]int
	worked        int64
)

func chanReceive()    { <-empty }
func chanSend()       { full <- 1 }
func nilReceive()     { <-never }
func nilSend()        { never <- 1 }
func noCases()        { select {} }
func sleeps()         { time.Sleep(time.Hour) }
func locks()          { held.Lock() }
func locksRead()      { heldRW.RLock() }
func locksWrite()     { heldRW.Lock() }
func waitsForGroup()  { waitGroup.Wait() }
func accepts()        { listener.Accept() }
func readsInSyscall() { syscall.Read(pipe[0], make([]byte, 1)) }

func selects() {
	select {
	case <-first:
	case second <- "":
	}
}

func waitsForCondition() {
	condition.L.Lock()
	condition.Wait()
}

// A stack far larger than what is read at first.
func deep() { recurse(400) }

//go:noinline
func recurse(n int) byte {
	var frame [1024]byte
	frame[n] = byte(n)
	if n == 0 {
		<-empty
		return 0
	}
	return frame[n] + recurse(n-1)
}

// Frames that exist only in the inline tree.
func inlined() { outer() }
func outer()   { inner() }
func inner()   { <-empty }

type worker struct{ in chan int }

func (w *worker) run() {
	func() { <-w.in }()
}

func inDefer() {
	defer func() { <-empty }()
}

func inPanic() {
	defer func() { <-empty }()
	panic("on purpose")
}

func locked() {
	runtime.LockOSThread()
	<-empty
}

func startWaiting() {
	var err error
	if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	if err = syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	held.Lock()
	heldRW.Lock()
	waitGroup.Add(1)
	w := &worker{in: make(chan int)}
	for _, wait := range []func(){
		chanReceive, chanSend, nilReceive, nilSend, noCases, sleeps, locks, locksRead, locksWrite,
		waitsForGroup, accepts, readsInSyscall, selects, waitsForCondition, deep, inlined, inDefer,
		inPanic, locked, w.run, sendsFull, labelled, inCoroutine, waitsTwice,
	} {
		go wait()
	}
	// Two more behind each: a semaphore chains those that wait for it.
	for _, wait := range []func(){locks, locksRead, locksWrite, waitsForGroup, waitsForCondition} {
		wait := wait
		for n := 0; n < 2; n++ {
			go func() { wait() }()
		}
	}
	fmt.Printf("WAITS main.chanReceive %p\n", empty)
	fmt.Printf("WAITS main.chanSend %p\n", full)
	fmt.Printf("WAITS main.selects %p %p\n", first, second)
	fmt.Printf("WAITS main.sendsFull %p\n", buffered)
	fmt.Printf("LOCK main.locks %p %d\n", &held, unsafe.Sizeof(held))
	fmt.Printf("LOCK main.locksRead %p %d\n", &heldRW, unsafe.Sizeof(heldRW))
	fmt.Printf("LOCK main.locksWrite %p %d\n", &heldRW, unsafe.Sizeof(heldRW))
	fmt.Printf("LOCK main.waitsForGroup %p %d\n", &waitGroup, unsafe.Sizeof(waitGroup))
	// With arguments, the compiler starts a function of its own.
	go waitsFor(empty, "an argument")
}

func pingPong() {
	there, back := make(chan int), make(chan int)
	go func() {
		for n := range there {
			back <- n
		}
		close(back)
	}()
	for n := 0; n < 1000; n++ {
		there <- n
		if <-back != n {
			panic("a goroutine was given what is not its own")
		}
	}
	close(there)
	atomic.AddInt64(&worked, 1)
}

// Goroutines that end, begin, grow their stacks, wait and wake.
func churn() {
	for {
		pingPong()
		grown := make(chan byte)
		go func() { grown <- grow(64) }()
		<-grown
		time.Sleep(time.Microsecond)
	}
}

//go:noinline
func grow(n int) byte {
	var frame [512]byte
	frame[n] = byte(n)
	if n == 0 {
		runtime.Gosched()
		return 0
	}
	return frame[n] + grow(n-1)
}

func main() {
	startWaiting()
	startServing()
	printObjects()
	settle()
	fmt.Println("READY")
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		words := strings.Fields(commands.Text())
		switch words[0] {
		case "crowd":
			size, err := strconv.Atoi(words[1])
			if err != nil {
				panic(err)
			}
			startCrowd(size)
			fmt.Println("END")
		case "deep":
			mebibytes, err := strconv.Atoi(words[1])
			if err != nil {
				panic(err)
			}
			startDeep(mebibytes)
			fmt.Println("END")
		case "family":
			generations, err := strconv.Atoi(words[1])
			if err != nil {
				panic(err)
			}
			startFamily(generations)
			fmt.Println("END")
		case "gc":
			runtime.GC()
			fmt.Println("END")
		case "worked":
			fmt.Println(atomic.LoadInt64(&worked))
			fmt.Println("END")
		case "dump":
			pprof.Lookup("goroutine").WriteTo(os.Stdout, 2)
			fmt.Println("END")
		case "busy":
			for n := 0; n < 32; n++ {
				go churn()
			}
			fmt.Println("END")
		}
	}
}
