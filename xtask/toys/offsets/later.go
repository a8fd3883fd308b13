//go:build go1.21

package main

import "context"

// later uses what came with Go 1.21.
func later(ctx context.Context) {
	stop := context.AfterFunc(context.WithoutCancel(ctx), func() {})
	stop()
	child, cancel := context.WithCancelCause(foreign{ctx})
	cancel(context.Cause(child))
}

// foreign is a context of nobody's package with an AfterFunc of its own, which is what a stopCtx is made for.
type foreign struct{ context.Context }

func (f foreign) AfterFunc(do func()) func() bool { return context.AfterFunc(f.Context, do) }
