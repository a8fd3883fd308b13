//go:build go1.23

package main

import "iter"

// A goroutine that waits for another one to hand it the thread.
func inCoroutine() {
	next, stop := iter.Pull(func(yield func(int) bool) {
		for yield(1) {
		}
	})
	defer stop()
	next()
	<-empty
}
