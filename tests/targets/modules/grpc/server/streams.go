package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/observer-targets/internal/downstream"
)

const (
	tick  = 100 * time.Millisecond
	ticks = 20
)

type streaming func(stream grpc.ServerStream) error

func (d *depot) streams() []grpc.StreamDesc {
	return []grpc.StreamDesc{
		streams("Ticks", d.ticks),
		streams("Deaf", d.deaf),
	}
}

// streams is what protoc would generate for a method that answers with a stream.
func streams(name string, run streaming) grpc.StreamDesc {
	handler := func(_ interface{}, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
		return run(stream)
	}
	return grpc.StreamDesc{StreamName: name, Handler: handler, ServerStreams: true}
}

// It ends when its client does.
func (d *depot) ticks(stream grpc.ServerStream) error {
	for i := 0; i < ticks; i++ {
		if err := stream.SendMsg(wrapperspb.String("tick")); err != nil {
			return err
		}
		if !downstream.Pause(stream.Context(), tick) {
			return stream.Context().Err()
		}
	}
	return nil
}

// Its client has left, and this goes on.
func (d *depot) deaf(stream grpc.ServerStream) error {
	if err := stream.SendMsg(wrapperspb.String("tick")); err != nil {
		return err
	}
	time.Sleep(long) // want: cancel-ignored stream
	return nil
}

// open begins a stream of this process's own service.
func (d *depot) open(ctx context.Context, method string) (grpc.ClientStream, error) {
	desc := &grpc.StreamDesc{StreamName: method, ServerStreams: true}
	stream, err := d.conn.NewStream(ctx, desc, "/"+name+"/"+method)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(wrapperspb.String("lamp")); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// next reads one answer.
func next(stream grpc.ClientStream) error {
	return stream.RecvMsg(new(wrapperspb.StringValue))
}
