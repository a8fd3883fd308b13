// Command client sends requests to the targets and behaves as clients do: it waits, leaves, resets, reads
// slowly, pipelines. It is bounded in count and in time, and prints one line of JSON when it is done.
//
//	client -url http://127.0.0.1:8080/report -n 10 -c 2 -mode drop -patience-ms 300 -id-prefix r-
//
// Modes: get and h2 use net/http (h2 without checking the certificate), all others write bytes over a connection of
// their own for each request: HTTP/2 those whose names begin with h2, HTTP/1.1 the rest. What leaving means depends on the mode: get and drop close the
// socket, rst resets it, halfclose shuts down the sending half and goes on reading, h2 resets the stream, h2leave closes
// the connection, h2break breaks the protocol and closes it once the server has said that it has had enough.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/observer-targets/internal/latency"
)

// options are the flags.
type options struct {
	url      *url.URL
	mode     string
	close    string
	method   string
	count    int
	workers  int
	rate     float64
	patience time.Duration
	limit    time.Duration
	// gap lets the server read the first pipelined request before the second arrives; sent together, both land
	// in its buffer at once and it goes on watching the connection.
	gap      time.Duration
	headers  headers
	idPrefix string
	idHeader string
	bodySize int
	status   int
	expect   string
}

// headers is a repeatable flag of "Name: value".
type headers []string

func (h *headers) String() string { return strings.Join(*h, ", ") }

func (h *headers) Set(line string) error {
	if !strings.Contains(line, ":") {
		return fmt.Errorf("%q is not a header, expected Name: value", line)
	}
	*h = append(*h, line)
	return nil
}

func parse() *options {
	o := &options{}
	target := flag.String("url", "", "where to send the requests")
	patience := flag.Int("patience-ms", 0, "when to leave, in ms; 0 waits for the answer")
	limit := flag.Int("max-seconds", 60, "when to send no more; what is under way gets one second")
	gap := flag.Int("pipeline-gap-ms", 50, "pause before the pipelined request, in ms; 0 sends both in one write")
	flag.StringVar(&o.mode, "mode", "get", "get|drop|rst|halfclose|slowread|pipeline|http10|expect100|h2|h2leave|h2break|postunread")
	flag.StringVar(&o.close, "close", "fin", "how drop, pipeline, slowread, postunread, h2leave and h2break leave: fin or rst")
	flag.StringVar(&o.method, "method", "", "request method (default GET, POST when the mode has a body)")
	flag.IntVar(&o.count, "n", 1, "requests; 0 sends until -max-seconds")
	flag.IntVar(&o.workers, "c", 1, "requests at a time")
	flag.Float64Var(&o.rate, "rate", 0, "requests per second over all workers; 0 does not pace")
	flag.Var(&o.headers, "header", "`Name: value`, repeatable")
	flag.StringVar(&o.idPrefix, "id-prefix", "", "request IDs: this and a counter from 0; empty sends none")
	flag.StringVar(&o.idHeader, "id-header", "X-Request-Id", "header for the request ID")
	flag.IntVar(&o.bodySize, "body-bytes", 0, "size of the request's body (default 1 KiB for expect100, 1 MiB for postunread)")
	flag.IntVar(&o.status, "status", 0, "the status that counts as right (default any 2xx)")
	flag.StringVar(&o.expect, "expect", "", "text that a right answer's body contains")
	flag.Parse()

	var err error
	if o.url, err = url.Parse(*target); err != nil || o.url.Host == "" {
		usage("-url %q is not an absolute URL", *target)
	}
	if _, known := modes[o.mode]; !known {
		usage("unknown -mode %q", o.mode)
	}
	if o.close != "fin" && o.close != "rst" {
		usage("-close is fin or rst, not %q", o.close)
	}
	if o.workers < 1 || o.count < 0 || *limit < 1 {
		usage("-c and -max-seconds begin at 1, -n at 0")
	}
	o.patience = time.Duration(*patience) * time.Millisecond
	if o.patience == 0 && (o.mode == "h2leave" || o.mode == "h2break") {
		usage("-mode %s leaves: it needs -patience-ms", o.mode)
	}
	o.gap = time.Duration(*gap) * time.Millisecond
	o.limit = time.Duration(*limit) * time.Second
	switch {
	case o.bodySize > 0:
	case o.mode == "expect100":
		o.bodySize = 1 << 10
	case o.mode == "postunread":
		o.bodySize = 1 << 20
	}
	if o.method == "" {
		o.method = "GET"
		if o.bodySize > 0 {
			o.method = "POST"
		}
	}
	if o.mode == "rst" {
		o.close = "rst"
	}
	return o
}

func usage(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "client: "+format+"\n", args...)
	os.Exit(2)
}

// result is what became of one request.
type result int

const (
	ok      result = iota
	dropped        // we left before the answer was complete
	bad            // an answer, but not the right one
	failed         // no answer, and we had not left
)

// sender does one request; it has to return soon after deadline.
type sender func(o *options, id string, deadline time.Time) (result, error)

var modes = map[string]sender{
	"get": viaNetHTTP, "h2": viaNetHTTP,
	"drop": raw, "rst": raw, "halfclose": raw, "slowread": raw, "pipeline": raw, "http10": raw,
	"expect100": raw, "postunread": raw,
	"h2leave": rawHTTP2, "h2break": rawHTTP2,
}

// lastWord is how long a request may take that is under way when -max-seconds are over.
const lastWord = time.Second

type worker struct {
	counts    [failed + 1]int
	latencies latency.Of
}

func main() {
	log.SetFlags(0)
	o := parse()
	prepare(o)
	go obeySignals()
	start := time.Now()
	workers := make([]worker, o.workers)
	var wg sync.WaitGroup
	var next, complaints int64
	for i := range workers {
		wg.Add(1)
		go func(w *worker) {
			defer wg.Done()
			w.run(o, start, &next, &complaints)
		}(&workers[i])
	}
	wg.Wait()
	report(workers, time.Since(start))
}

var interrupted int32

// obeySignals makes the first SIGINT the end of sending; what is under way is finished and everything reported.
func obeySignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	<-signals
	signal.Stop(signals)
	atomic.StoreInt32(&interrupted, 1)
}

func (w *worker) run(o *options, start time.Time, next, complaints *int64) {
	end := start.Add(o.limit)
	for {
		i := atomic.AddInt64(next, 1) - 1
		if o.count > 0 && i >= int64(o.count) {
			return
		}
		if o.rate > 0 {
			due := start.Add(time.Duration(float64(i) / o.rate * float64(time.Second)))
			if due.After(end) {
				return
			}
			time.Sleep(time.Until(due))
		}
		sent := time.Now()
		if !sent.Before(end) || atomic.LoadInt32(&interrupted) != 0 {
			return
		}
		id := ""
		if o.idPrefix != "" {
			id = o.idPrefix + strconv.FormatInt(i, 10)
		}
		outcome, err := modes[o.mode](o, id, end.Add(lastWord))
		w.counts[outcome]++
		if outcome == ok {
			w.latencies.Add(time.Since(sent), o.workers)
		}
		if err != nil && atomic.AddInt64(complaints, 1) <= 3 {
			log.Printf("client: request %d: %v", i, err)
		}
	}
}

func report(workers []worker, took time.Duration) {
	var counts [failed + 1]int
	var latencies []latency.Of
	for _, w := range workers {
		for i, n := range w.counts {
			counts[i] += n
		}
		latencies = append(latencies, w.latencies)
	}
	line, err := json.Marshal(struct {
		Sent    int     `json:"sent"`
		OK      int     `json:"ok"`
		Dropped int     `json:"dropped"`
		Bad     int     `json:"bad"`
		Failed  int     `json:"failed"`
		Seconds float64 `json:"seconds"`
		PerSec  float64 `json:"per_second"`
		latency.Quantiles
	}{
		counts[ok] + counts[dropped] + counts[bad] + counts[failed],
		counts[ok], counts[dropped], counts[bad], counts[failed],
		took.Seconds(), float64(counts[ok]) / took.Seconds(),
		latency.Tell(latencies),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
