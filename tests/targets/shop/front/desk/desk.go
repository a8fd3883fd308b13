// Package desk is the pick-up desk and the payment terminal beside it.
package desk

import (
	"context"
	"errors"
	"time"

	"example.com/observer-targets/internal/compat"
)

// ErrNoAnswer says that the payment terminal did not answer in time.
var ErrNoAnswer = errors.New("the terminal did not answer")

// Desk hands out pick-up slots.
type Desk struct {
	// Busy is how long until the next slot is free.
	Busy time.Duration
}

// Slot waits for the next free slot.
func (d *Desk) Slot() time.Time {
	free := make(chan time.Time, 1)
	time.AfterFunc(d.Busy, func() { free <- time.Now() })
	return <-free // want: cancel-ignored shop-pickup
}

// Confirm waits for the customer at the terminal. The payment must not stop halfway, so it outlives the request.
func (d *Desk) Confirm(ctx context.Context, paid <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(compat.WithoutCancel(ctx), d.Busy) // want: detached-context shop-checkout
	defer cancel()
	select {
	case <-paid:
		return nil
	case <-ctx.Done():
		return ErrNoAnswer
	}
}
