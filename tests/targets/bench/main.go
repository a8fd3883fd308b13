// Command bench is the server under the benchmarks: as little as possible besides the work that -mode names.
//
//	hello    plain text
//	spawn1   plain text, after one goroutine that the handler starts and waits for; spawn10: ten of them
//	others   plain text, after 1000 goroutines that one of no request starts for it
//	burn200  200 µs of CPU a request, calibrated at start
//	json     JSON, one WithTimeout (freed), one call over pooled connections to -downstream,
//	         else to a second listener of this process
//
// Beside it, -crowd N goroutines wait, in several ways below several depths.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

// burnFor is the CPU time that one burn200 request costs.
const burnFor = 200 * time.Microsecond

var hello = []byte("hello, world\n")

func main() {
	mode := flag.String("mode", "hello", "hello, spawn1, spawn10, others, burn200 or json")
	base := flag.String("downstream", "", "base URL of json's downstream (default: a second listener of this process)")
	size := flag.Int("crowd", 0, "goroutines that wait")
	flag.Parse()
	var handler http.HandlerFunc
	switch *mode {
	case "hello":
		handler = greet
	case "spawn1":
		handler = spawning(1)
	case "spawn10":
		handler = spawning(10)
	case "others":
		handler = startingElsewhere()
	case "burn200":
		rounds := calibrate()
		handler = func(w http.ResponseWriter, r *http.Request) { burned(w, r, rounds) }
	case "json":
		if *base == "" {
			*base = downstream.Start()
		}
		handler = newShelf(*base).serve
	default:
		log.Fatalf("unknown -mode %q", *mode)
	}
	startCrowd(*size)
	app.Run(&http.Server{Handler: app.Mux([]app.Route{{Path: "/", Handler: handler}})})
}

func greet(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_, _ = w.Write(hello)
}

// spawning starts n goroutines and waits for them.
func spawning(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		var group sync.WaitGroup
		group.Add(n)
		for i := 0; i < n; i++ {
			go group.Done()
		}
		group.Wait()
		_, _ = w.Write(hello)
	}
}

// othersStarted is how many goroutines one request of others waits for.
const othersStarted = 1000

// startingElsewhere waits for goroutines that belong to no request: one that began with the process starts them.
func startingElsewhere() http.HandlerFunc {
	wanted := make(chan chan struct{})
	go func() {
		for done := range wanted {
			var group sync.WaitGroup
			group.Add(othersStarted)
			for i := 0; i < othersStarted; i++ {
				go group.Done()
			}
			group.Wait()
			close(done)
		}
	}()
	return func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		done := make(chan struct{})
		wanted <- done
		<-done
		_, _ = w.Write(hello)
	}
}

// sink keeps the compiler from dropping the burnt loop.
var sink uint64

func spin(rounds int) {
	x := uint64(88172645463325252)
	for i := 0; i < rounds; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	atomic.StoreUint64(&sink, x)
}

// calibrate finds the number of rounds that take burnFor; the fastest of many runs is the least disturbed.
func calibrate() int {
	const probe = 100_000
	best := time.Hour
	for i := 0; i < 50; i++ {
		start := time.Now()
		spin(probe)
		if took := time.Since(start); took < best {
			best = took
		}
	}
	return int(probe * burnFor / best)
}

func burned(w http.ResponseWriter, r *http.Request, rounds int) {
	app.RequestID(r)
	spin(rounds)
	_, _ = w.Write(hello)
}

type shelf struct {
	url    string
	client *http.Client
}

func newShelf(base string) *shelf {
	transport := &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512}
	return &shelf{url: base + "/json", client: &http.Client{Transport: transport}}
}

type product struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
}

func (s *shelf) serve(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	found, err := s.fetch(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct {
		Product product `json:"product"`
		Stock   int     `json:"stock"`
	}{found, 3})
}

func (s *shelf) fetch(ctx context.Context) (product, error) {
	var found product
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return found, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return found, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return found, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return found, err
}
