//go:build !go1.23

package main

// Before Go 1.23 there are no coroutines.
func inCoroutine() { <-empty }
