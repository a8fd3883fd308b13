//go:build !go1.26

package main

// locks is about what no goroutine names in its wait before Go 1.26.
func locks() {}
