// Foreign keeps goroutines in C, goroutines that C has called, and goroutines that keep their thread.
//
// It prints READY. On standard input it takes "dump" (its own goroutine dump, ended by END).
package main

/*
#include <pthread.h>
#include <unistd.h>

extern void calledByC(int);

static void readInC(int fd) {
	char one;
	if (read(fd, &one, 1) < 0)
		_exit(1);
}

static void callBack(int deep) { calledByC(deep); }

static void *onThread(void *unused) {
	calledByC(1);
	return unused;
}

static int startThread(void) {
	pthread_t thread;
	return pthread_create(&thread, 0, onThread, 0);
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

var (
	empty = make(chan int)
	pipe  [2]int
)

func inC()       { C.readInC(C.int(pipe[0])) }
func throughC()  { C.callBack(0) }
func throughC2() { C.callBack(2) }

//export calledByC
func calledByC(deep C.int) {
	if deep > 1 {
		C.callBack(deep - 1)
		return
	}
	waitsInside()
}

//go:noinline
func waitsInside() { <-empty }

func locked() {
	runtime.LockOSThread()
	<-empty
}

func lockedInSyscall() {
	runtime.LockOSThread()
	syscall.Read(pipe[0], make([]byte, 1))
}

func lockedInC() {
	runtime.LockOSThread()
	C.readInC(C.int(pipe[0]))
}

func main() {
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	for _, one := range []func(){inC, throughC, throughC2, locked, lockedInSyscall, lockedInC} {
		go one()
	}
	if C.startThread() != 0 {
		panic("no thread")
	}
	time.Sleep(300 * time.Millisecond)
	fmt.Println("READY")
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		pprof.Lookup("goroutine").WriteTo(os.Stdout, 2)
		fmt.Println("END")
	}
}
