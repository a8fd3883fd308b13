// Command client calls a method of the gRPC service, over one connection, and leaves when its patience ends: with a
// RST_STREAM in mode cancel, with the connection in mode close, with a deadline that the server hears of in mode deadline.
// An answer that is a stream is read to its end.
// One line of JSON at the end, as that of the HTTP client.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/observer-targets/internal/latency"
)

var (
	url      = flag.String("url", "", "ADDRESS/SERVICE/METHOD")
	count    = flag.Int64("n", 1, "calls; 0: until -max-seconds")
	at       = flag.Int("c", 1, "calls at a time")
	mode     = flag.String("mode", "cancel", "how to leave: cancel, close, deadline")
	patience = flag.Int("patience-ms", 0, "when to leave; 0: wait")
	seconds  = flag.Int("max-seconds", 60, "when to end")
	answer   = flag.String("answer", "message", "what the method answers with: message, stream")
	over     = flag.String("over", "tcp", "tcp, or tls, whatever the certificate")
	trace    = flag.String("traceparent", "", "sent with every call")
	prefix   = flag.String("id-prefix", "", "the call with number n has the ID PREFIXn")
)

type report struct {
	Sent    int64   `json:"sent"`
	OK      int64   `json:"ok"`
	Dropped int64   `json:"dropped"`
	Bad     int64   `json:"bad"`
	Failed  int64   `json:"failed"`
	Seconds float64 `json:"seconds"`
	PerSec  float64 `json:"per_second"`
	latency.Quantiles
}

func main() {
	flag.Parse()
	address, method := split(*url)
	creds := insecure.NewCredentials()
	if *over == "tls" {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	conn, err := grpc.Dial(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var said report
	var next int64
	start := time.Now()
	end := start.Add(time.Duration(*seconds) * time.Second)
	latencies := make([]latency.Of, *at)
	var wait sync.WaitGroup
	for i := range latencies {
		wait.Add(1)
		go func(took *latency.Of) {
			defer wait.Done()
			for time.Now().Before(end) {
				number := atomic.AddInt64(&next, 1) - 1
				if *count > 0 && number >= *count {
					return
				}
				sent := time.Now()
				err := call(conn, method, number)
				if err == nil {
					took.Add(time.Since(sent), *at)
				}
				said.add(err)
			}
		}(&latencies[i])
	}
	wait.Wait()
	said.Seconds = time.Since(start).Seconds()
	said.PerSec = float64(said.OK) / said.Seconds
	said.Quantiles = latency.Tell(latencies)
	_ = json.NewEncoder(os.Stdout).Encode(&said)
}

// split takes 127.0.0.1:80/shop.Depot/Echo apart.
func split(url string) (address, method string) {
	for i, c := range url {
		if c == '/' {
			return url[:i], url[i:]
		}
	}
	return url, ""
}

func call(conn *grpc.ClientConn, method string, number int64) error {
	ctx := context.Background()
	if *prefix != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", fmt.Sprint(*prefix, number))
	}
	if *trace != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", *trace)
	}
	if *patience > 0 {
		wait := time.Duration(*patience) * time.Millisecond
		var cancel context.CancelFunc
		if *mode == "deadline" {
			ctx, cancel = context.WithTimeout(ctx, wait)
		} else {
			ctx, cancel = context.WithCancel(ctx)
			leave := func() {
				if *mode == "close" {
					_ = conn.Close()
				}
				cancel()
			}
			defer time.AfterFunc(wait, leave).Stop()
		}
		defer cancel()
	}
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	if *answer == "stream" {
		return read(ctx, conn, method)
	}
	return conn.Invoke(ctx, method, in, out)
}

// read reads a stream to its end.
func read(ctx context.Context, conn *grpc.ClientConn, method string) error {
	in, out := wrapperspb.String("lamp"), new(wrapperspb.StringValue)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(in); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(out); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (said *report) add(err error) {
	atomic.AddInt64(&said.Sent, 1)
	counter := &said.Failed
	switch status.Code(err) {
	case codes.OK:
		counter = &said.OK
	case codes.Canceled, codes.DeadlineExceeded:
		if *patience > 0 {
			counter = &said.Dropped
		}
	}
	if counter == &said.Failed {
		fmt.Fprintln(os.Stderr, err)
	}
	atomic.AddInt64(counter, 1)
}
