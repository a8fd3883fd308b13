package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/observer-targets/internal/app"
)

// patience of clients that leave, in milliseconds.
const patience = 300

// dial makes this process a client of a service, and watches its health.
func (d *depot) dial(address string) {
	conn, err := grpc.Dial(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(handOn), grpc.WithStreamInterceptor(handStreamOn))
	if err != nil {
		log.Fatal(err)
	}
	d.conn = conn
	go d.watchHealth()
}

// handOn is in every unary call, and none of them is its fault.
func handOn(ctx context.Context, method string, req, reply interface{}, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoker(metadata.AppendToOutgoingContext(ctx, "x-hop", "depot"), method, req, reply, conn, opts...)
}

// handStreamOn is the same of streams.
func handStreamOn(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return streamer(metadata.AppendToOutgoingContext(ctx, "x-hop", "depot"), desc, conn, method, opts...)
}

func (d *depot) watchHealth() {
	watch, err := health.NewHealthClient(d.conn).Watch(context.Background(), &health.HealthCheckRequest{})
	for err == nil {
		_, err = watch.Recv()
	}
}

// call calls a method of this process's own service.
func (d *depot) call(ctx context.Context, method string) error {
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	return d.conn.Invoke(ctx, "/"+name+"/"+method, in, out) // want: premature-cancel unary; deadline-dropped detour
}

func (d *depot) routes() []app.Route {
	return []app.Route{
		{Path: "/detached/unary", PatienceMS: patience, Handler: d.detachedUnary},
		{Path: "/detached/unary/ok", PatienceMS: patience, Handler: d.detachedUnaryOk},
		{Path: "/detached/stream", PatienceMS: patience, Handler: d.detachedStream},
		{Path: "/detached/stream/ok", PatienceMS: patience, Handler: d.detachedStreamOk},
		{Path: "/abandoned/stream", Handler: d.abandonedStream},
		{Path: "/abandoned/stream/ok", Handler: d.abandonedStreamOk},
		{Path: "/premature/unary", Handler: d.prematureUnary},
		{Path: "/premature/unary/ok", Handler: d.prematureUnaryOk},
		{Path: "/two/streams/ok", Handler: d.twoStreamsOk},
		{Path: "/tags/ok", Handler: d.tagsOk},
		{Path: "/orphan/deadline", Status: http.StatusBadGateway, Handler: d.orphanDeadline},
		{Path: "/orphan/detached", PatienceMS: patience, Handler: d.orphanDetached},
		{Path: "/orphan/span", PatienceMS: patience, Handler: d.orphanSpan},
		{Path: "/orphan/ok", PatienceMS: patience, Handler: d.orphanOk},
	}
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

func (d *depot) detachedUnary(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	// What it calls is told of its caller all the same.
	ctx := metadata.AppendToOutgoingContext(context.Background(), "X-Request-ID", r.Header.Get("X-Request-Id"))
	answer(w, d.call(ctx, "SleepOk")) // want: detached-context unary
}

func (d *depot) detachedUnaryOk(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	answer(w, d.call(r.Context(), "SleepOk"))
}

func (d *depot) detachedStream(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	stream, err := d.open(context.Background(), "Ticks") // want: detached-context stream
	for err == nil {
		err = next(stream)
	}
}

func (d *depot) detachedStreamOk(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	stream, err := d.open(r.Context(), "Ticks")
	for err == nil {
		err = next(stream)
	}
}

// Nobody ever ends the stream but the other side.
func (d *depot) abandonedStream(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	stream, err := d.open(context.Background(), "Ticks") // want: detached-context abandoned
	if err == nil {
		err = next(stream)
	}
	answer(w, err)
}

// It ends with the request.
func (d *depot) abandonedStreamOk(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	stream, err := d.open(r.Context(), "Ticks")
	if err == nil {
		err = next(stream)
	}
	answer(w, err)
}

func (d *depot) prematureUnary(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	begun := make(chan struct{})
	go func() {
		close(begun)
		_ = d.call(r.Context(), "SleepOk")
	}()
	<-begun
	time.Sleep(quick)
}

func (d *depot) prematureUnaryOk(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	failed := make(chan error)
	go func() { failed <- d.call(r.Context(), "Echo") }()
	answer(w, <-failed)
}

// Two streams at once, and a call beside them, which all end well.
func (d *depot) twoStreamsOk(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	one, err := d.open(r.Context(), "Ticks")
	if err != nil {
		answer(w, err)
		return
	}
	other, err := d.open(r.Context(), "Ticks")
	for err == nil {
		err = next(other)
	}
	if err == io.EOF {
		err = d.call(r.Context(), "Echo")
	}
	for err == nil {
		err = next(one)
	}
	if err != io.EOF {
		answer(w, err)
	}
}

// Many short calls on contexts of their own.
func (d *depot) tagsOk(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	for i := 0; i < ticks; i++ {
		ctx, cancel := context.WithTimeout(r.Context(), long)
		err := d.call(ctx, "Echo")
		cancel()
		if err != nil {
			answer(w, err)
			return
		}
	}
}
