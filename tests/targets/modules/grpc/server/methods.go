package main

import (
	"context"
	"errors"
	"time"

	"example.com/observer-targets/internal/compat"
	"example.com/observer-targets/internal/downstream"
)

const (
	quick = 20 * time.Millisecond
	long  = 2 * time.Second
)

func (d *depot) brief(ctx context.Context) error {
	if !downstream.Pause(ctx, 10*quick) {
		return ctx.Err()
	}
	return nil
}

func (d *depot) echo(context.Context) error { return nil }

// Whoever called has left, or has no time left; this does not look.
func (d *depot) sleep(context.Context) error {
	time.Sleep(long) // want: cancel-ignored sleep
	return nil
}

// Its client's connection is gone when it returns, without an error.
func (d *depot) doze(context.Context) error {
	time.Sleep(long) // want: cancel-ignored doze
	return nil
}

// The same, with an error.
func (d *depot) nap(context.Context) error {
	time.Sleep(long) // want: cancel-ignored nap
	return errors.New("woken up")
}

func (d *depot) sleepOk(ctx context.Context) error {
	if !downstream.Pause(ctx, long) {
		return ctx.Err()
	}
	return nil
}

func (d *depot) channel(context.Context) error {
	done := make(chan struct{})
	time.AfterFunc(long, func() { close(done) })
	<-done // want: cancel-ignored channel
	return nil
}

// It asks something else than its context whether to go on.
func (d *depot) poll(context.Context) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select { // want: cancel-ignored poll
	case <-timer.C:
	case <-d.closed:
	}
	return nil
}

func (d *depot) uncalled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // want: cancel-not-called uncalled
	_ = cancel
	downstream.Pause(ctx, quick)
	return nil
}

// leaves starts what nobody can wake.
func (d *depot) leaves(context.Context) error {
	var never chan struct{}
	go func() { <-never }() // want: goroutine-leak leaves
	return nil
}

func (d *depot) uncalledOk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	downstream.Pause(ctx, quick)
	return nil
}

// The wait ends with a timeout of its own, whatever becomes of the caller.
func (d *depot) detached(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(compat.WithoutCancel(ctx), long) // want: detached-context wait
	defer cancel()
	<-ctx.Done()
	return nil
}

func (d *depot) inflated(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // want: deadline-inflated clamped
	defer cancel()
	downstream.Pause(ctx, quick)
	return nil
}

func (d *depot) inflatedOk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	downstream.Pause(ctx, quick)
	return nil
}

// The caller's deadline ends here.
func (d *depot) detour(ctx context.Context) error {
	if !downstream.Pause(ctx, quick) {
		return ctx.Err()
	}
	return d.call(context.Background(), "Brief") // want: detached-context detour
}

func (d *depot) detourOk(ctx context.Context) error { return d.call(ctx, "Brief") }
