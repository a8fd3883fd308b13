//go:build go1.21

package compat

import "context"

// WithoutCancel cuts cancellation and deadline off ctx and keeps its values.
func WithoutCancel(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// WithCancelCause names the cause of the cancellation.
func WithCancelCause(ctx context.Context) (context.Context, func(error)) {
	child, cancel := context.WithCancelCause(ctx)
	return child, cancel
}

// HasAfterFunc says whether AfterFunc is the one of package context.
const HasAfterFunc = true

// AfterFunc runs f on its own goroutine once ctx is done; stop prevents that.
func AfterFunc(ctx context.Context, f func()) (stop func() bool) { return context.AfterFunc(ctx, f) }
