// Command server is a gRPC service with one planted mistake per method; the healthy twin of a method has Ok behind its
// name. It needs no generated code: requests and answers are google.protobuf.StringValue.
//
// It serves gRPC on its second line, `listening-grpc ADDR`, and on its first what every target program serves.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/observer-targets/internal/app"
)

const name = "shop.Depot"

var workers = flag.Uint("workers", 0, "goroutines that serve streams one after the other; 0: one for each stream")

// depot is what all methods share.
type depot struct {
	closed chan struct{}
}

type method func(ctx context.Context) error

func main() {
	flag.Parse()
	fmt.Println("listening-grpc", serve(new(depot), uint32(*workers)))
	app.Run(&http.Server{Handler: app.Mux(nil)})
}

// serve starts a server of its own and gives its address.
func serve(d *depot, workers uint32) net.Addr {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var options []grpc.ServerOption
	if workers > 0 {
		options = append(options, grpc.NumStreamWorkers(workers))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(d.service(), d)
	go func() { log.Fatal(server.Serve(ln)) }()
	return ln.Addr()
}

func (d *depot) service() *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: name, HandlerType: (*interface{})(nil)}
	for _, one := range d.methods() {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: one.name, Handler: unary(one.run)})
	}
	return desc
}

// unary is what protoc would generate for a method.
func unary(run method) func(interface{}, context.Context, func(interface{}) error, grpc.UnaryServerInterceptor) (interface{}, error) {
	return func(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return in, run(ctx)
	}
}

type named struct {
	name string
	run  method
}

func (d *depot) methods() []named {
	return []named{
		{"Sleep", d.sleep},
		{"SleepOk", d.sleepOk},
		{"Channel", d.channel},
		{"ChannelOk", d.sleepOk},
		{"Poll", d.poll},
		{"Uncalled", d.uncalled},
		{"UncalledOk", d.uncalledOk},
		{"Detached", d.detached},
		{"DetachedOk", d.sleepOk},
		{"Inflated", d.inflated},
		{"InflatedOk", d.inflatedOk},
		{"Echo", d.echo},
	}
}
