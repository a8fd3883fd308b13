package main

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/observer-targets/internal/app"
)

// invoked tells who calls.
func invoked(ctx context.Context, r *http.Request, more ...string) context.Context {
	if id := app.RequestID(r); id != "" {
		more = append(more, "X-Request-ID", id)
	}
	return metadata.AppendToOutgoingContext(ctx, more...)
}

// Its deadline passes, and the method never looks.
func (d *depot) orphanDeadline(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(invoked(r.Context(), r), patience*time.Millisecond)
	defer cancel()
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	answer(w, d.conn.Invoke(ctx, "/"+name+"/Sleep", in, out)) // want: orphaned-downstream deadline
}

// Its client leaves, and the method waits on a context of its own.
func (d *depot) orphanDetached(w http.ResponseWriter, r *http.Request) {
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	answer(w, d.conn.Invoke(invoked(r.Context(), r), "/"+name+"/Detached", in, out)) // want: orphaned-downstream detached
}

// Only a span goes on, in a trace that begins here.
func (d *depot) orphanSpan(w http.ResponseWriter, r *http.Request) {
	const span = "00-11111111111111111111111111111111-2222222222222222-01"
	ctx := metadata.AppendToOutgoingContext(r.Context(), "traceparent", span)
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	answer(w, d.conn.Invoke(ctx, "/"+name+"/Doze", in, out)) // want: orphaned-downstream span
}

// The method stops when its caller does.
func (d *depot) orphanOk(w http.ResponseWriter, r *http.Request) {
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	answer(w, d.conn.Invoke(invoked(r.Context(), r), "/"+name+"/SleepOk", in, out))
}
