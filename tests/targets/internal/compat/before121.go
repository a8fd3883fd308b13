//go:build !go1.21

package compat

import (
	"context"
	"sync"
	"time"
)

// detachedCtx is the wrapper type that services wrote before context.WithoutCancel existed.
type detachedCtx struct{ parent context.Context }

func (detachedCtx) Deadline() (time.Time, bool)         { return time.Time{}, false }
func (detachedCtx) Done() <-chan struct{}               { return nil }
func (detachedCtx) Err() error                          { return nil }
func (d detachedCtx) Value(key interface{}) interface{} { return d.parent.Value(key) }

// WithoutCancel cuts cancellation and deadline off ctx and keeps its values.
func WithoutCancel(ctx context.Context) context.Context { return detachedCtx{parent: ctx} }

// WithCancelCause drops the cause: this Go has no place for it.
func WithCancelCause(ctx context.Context) (context.Context, func(error)) {
	child, cancel := context.WithCancel(ctx)
	return child, func(error) { cancel() }
}

// HasAfterFunc says whether AfterFunc is the one of package context.
const HasAfterFunc = false

// AfterFunc runs f on its own goroutine once ctx is done; stop prevents that.
func AfterFunc(ctx context.Context, f func()) (stop func() bool) {
	stopped := make(chan struct{})
	var once sync.Once
	go func() {
		select {
		case <-ctx.Done():
			once.Do(f)
		case <-stopped:
		}
	}()
	return func() bool {
		won := false
		once.Do(func() { won = true; close(stopped) })
		return won
	}
}
