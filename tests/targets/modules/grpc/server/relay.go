package main

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// passedOn tells whom it calls for whom.
func passedOn(ctx context.Context) context.Context {
	told, _ := metadata.FromIncomingContext(ctx)
	for _, id := range told.Get("x-request-id") {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", id)
	}
	return ctx
}

// The caller's deadline goes on, it passes, and the next method never looks.
func (d *depot) relay(ctx context.Context) error {
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	return d.conn.Invoke(passedOn(ctx), "/"+name+"/Sleep", in, out) // want: orphaned-downstream relay
}

// The caller resets its stream, and this one's is reset with it.
func (d *depot) hand(ctx context.Context) error {
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	return d.conn.Invoke(passedOn(ctx), "/"+name+"/Doze", in, out) // want: orphaned-downstream hand
}

// It waits for less time than its caller does, and answers without what it has asked for.
func (d *depot) bound(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(passedOn(ctx), patience*time.Millisecond) // want: orphaned-downstream bound deadline; deadline-not-forwarded bound deadline
	defer cancel()
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	_ = d.conn.Invoke(ctx, "/"+name+"/Nap", in, out) // want: orphaned-downstream bound; deadline-not-forwarded bound
	return nil
}

// The next method stops when its caller does.
func (d *depot) relayOk(ctx context.Context) error {
	return d.call(passedOn(ctx), "SleepOk")
}

// The same, with less time than its own caller waits for.
func (d *depot) boundOk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(passedOn(ctx), patience*time.Millisecond)
	defer cancel()
	_ = d.call(ctx, "SleepOk")
	return nil
}
