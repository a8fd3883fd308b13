// Package compat gives the target programs the context functions that younger Go versions added, so that
// one source builds from Go 1.18 on. On a Go that has the function it is that function; before that it is
// what services of the time wrote themselves.
package compat
