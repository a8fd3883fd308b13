// Package group runs the parts of one task and cancels the others when one fails, as
// golang.org/x/sync/errgroup does. It is kept here because the targets use the standard library only.
package group

import (
	"context"
	"sync"
)

// Group is a set of goroutines that work on one task.
type Group struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// WithContext returns a group and the context its parts have to use.
func WithContext(ctx context.Context) (*Group, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	return &Group{cancel: cancel}, ctx
}

// Go runs f; the first error cancels the group's context.
func (g *Group) Go(f func() error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		if err := f(); err != nil {
			g.once.Do(func() { g.err = err; g.cancel() })
		}
	}()
}

// Wait waits for all parts, frees the context and returns the first error.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel()
	return g.err
}
