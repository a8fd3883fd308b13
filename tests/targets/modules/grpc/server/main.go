// Command server is a gRPC service with one planted mistake per method; the healthy twin of a method has Ok behind its
// name. It needs no generated code: requests and answers are google.protobuf.StringValue.
//
// It serves gRPC where it says `listening-grpc ADDR`, the same through net/http over TLS where it says
// `listening-grpc-http ADDR`, the same through golang.org/x/net's HTTP/2 without TLS where it says `listening-grpc-h2c ADDR`,
// routes through golang.org/x/net's HTTP/2 with TLS where it says `listening-http2 ADDR` (web.go), and where every target program does routes that call the service (calls.go).
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/observer-targets/internal/app"
)

const name = "shop.Depot"

var other = flag.String("depot", "", "address of another such service that the routes and methods call; empty: this one's own")

var workers = flag.Uint("workers", 0, "goroutines that serve streams one after the other; 0: one for each stream")

var age = flag.Duration("age", 0, "how old a connection may become; 0: as old as it likes")

// depot is what all methods share.
type depot struct {
	closed chan struct{}
	conn   *grpc.ClientConn
}

type method func(ctx context.Context) error

func main() {
	flag.Parse()
	d := new(depot)
	address := listen()
	go func() { log.Fatal(d.server(uint32(*workers)).Serve(address)) }()
	called := *other
	if called == "" {
		called = address.Addr().String()
	}
	d.dial(called)
	fmt.Println("listening-grpc", address.Addr())
	fmt.Println("listening-grpc-http", serveHTTP(d.server(0)))
	fmt.Println("listening-grpc-h2c", serveH2C(d.server(0)))
	fmt.Println("listening-http2", serveHTTP2())
	app.Run(&http.Server{Handler: app.Mux(d.routes())})
}

func listen() net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

// server asks its clients every second whether they are still there.
func (d *depot) server(workers uint32) *grpc.Server {
	kept := keepalive.ServerParameters{Time: time.Second, MaxConnectionAge: *age, MaxConnectionAgeGrace: *age}
	options := []grpc.ServerOption{grpc.KeepaliveParams(kept)}
	if workers > 0 {
		options = append(options, grpc.NumStreamWorkers(workers))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(d.service(), d)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	return server
}

func (d *depot) service() *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: name, HandlerType: (*interface{})(nil), Streams: d.streams()}
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
		{"Doze", d.doze},
		{"Nap", d.nap},
		{"SleepOk", d.sleepOk},
		{"Channel", d.channel},
		{"ChannelOk", d.sleepOk},
		{"Poll", d.poll},
		{"Uncalled", d.uncalled},
		{"UncalledOk", d.uncalledOk},
		{"Leaves", d.leaves},
		{"Detached", d.detached},
		{"DetachedOk", d.sleepOk},
		{"Inflated", d.inflated},
		{"InflatedOk", d.inflatedOk},
		{"Detour", d.detour},
		{"DetourOk", d.detourOk},
		{"Relay", d.relay},
		{"RelayOk", d.relayOk},
		{"Hand", d.hand},
		{"Bound", d.bound},
		{"BoundOk", d.boundOk},
		{"Brief", d.brief},
		{"Echo", d.echo},
	}
}
