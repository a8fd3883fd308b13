package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/compat"
	"example.com/observer-targets/internal/downstream"
)

// otherRoutes are about work beside and after the response, and about long responses.
func (s *service) otherRoutes() []app.Route {
	routes := []app.Route{
		{Path: "/", Handler: hello},
		{Path: "/afterfunc", PatienceMS: 300, Mode: "drop", Handler: afterFunc},
		{Path: "/audit", Handler: s.audit},
		{Path: "/refresh", Handler: s.refresh},
		{Path: "/cache-fill", Handler: s.cacheFill},
		{Path: "/cache-fill-flushed", Handler: s.cacheFillFlushed},
		{Path: "/cache-fill-memory", Handler: s.cacheFillMemory},
		{Path: "/singleflight", Handler: s.singleflight},
		{Path: "/hijack", Handler: hijack},
		{Path: "/sse", PatienceMS: 700, Mode: "drop", Handler: events},
		{Path: "/long-poll", Handler: longPoll},
		{Path: "/job", Status: http.StatusAccepted, Handler: s.acceptJob},
		{Path: "/tail", Handler: tail},
		{Path: "/tenant", Handler: s.tenant},
		{Path: "/gather", Handler: gather},
	}
	if compat.HasAfterFunc {
		routes = append(routes, app.Route{Path: "/merge", PatienceMS: 300, Mode: "drop", Handler: s.merge})
	}
	return routes
}

func hello(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	fmt.Fprintln(w, "hello")
}

// AfterFunc wakes somebody who cannot look at a context; its stop function is called at the end.
func afterFunc(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	left, ready := false, false
	set := func(flag *bool) {
		mu.Lock()
		*flag = true
		mu.Unlock()
		cond.Broadcast()
	}
	stop := compat.AfterFunc(r.Context(), func() { set(&left) })
	defer stop()
	timer := time.AfterFunc(2*time.Second, func() { set(&ready) })
	defer timer.Stop()
	mu.Lock()
	for !left && !ready {
		cond.Wait()
	}
	mu.Unlock()
	reply(w, nil)
}

// The call ends with a context of its own and, by AfterFunc, with the request: two merged into one.
func (s *service) merge(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(context.Background()) // info: detached-context merge
	defer cancel()
	stop := compat.AfterFunc(r.Context(), cancel)
	defer stop()
	reply(w, s.call(ctx, slow))
}

// An audit record has to be written even if the client has just left; it has a second for that.
func (s *service) audit(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(compat.WithoutCancel(r.Context()), time.Second) // info: detached-context audit
	defer cancel()
	reply(w, s.call(ctx, quick))
}

// The stale value is good enough for this client, the fresh one is for the next.
func (s *service) refresh(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	kept := compat.WithoutCancel(r.Context())
	go func() {
		ctx, cancel := context.WithTimeout(kept, 2*time.Second) // info: detached-context refresh
		defer cancel()
		s.cache.put(ctx, r.URL.Path, s.call(ctx, 400*time.Millisecond))
	}()
	reply(w, nil)
}

// The value is fetched on the request's context and stored behind its back on one with a deadline of its own.
func (s *service) cacheFill(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	err := s.call(r.Context(), quick)
	kept := compat.WithoutCancel(r.Context())
	go func() {
		ctx, cancel := context.WithTimeout(kept, time.Second) // info: detached-context cache-fill
		defer cancel()
		_ = s.call(ctx, 10*quick)
	}()
	reply(w, err)
}

// The client has its answer; the handler fills the cache on the request's context before it returns.
func (s *service) cacheFillFlushed(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, nil)
	if flusher, can := w.(http.Flusher); can {
		flusher.Flush()
	}
	if err := s.call(r.Context(), 10*quick); err != nil {
		log.Print("cache not filled: ", err)
	}
}

// The goroutine carries the request's context past the response, for its values only: filling needs no time.
func (s *service) cacheFillMemory(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx := context.WithValue(r.Context(), userKey{}, "ada")
	go func() {
		time.Sleep(50 * time.Millisecond)
		s.cache.put(ctx, r.URL.Path, nil)
	}()
	reply(w, nil)
}

type userKey struct{}

// cache remembers the last outcome of each key.
type cache struct {
	mu   sync.Mutex
	last map[string]string
}

func (c *cache) put(ctx context.Context, key string, err error) {
	user, _ := ctx.Value(userKey{}).(string)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = map[string]string{}
	}
	c.last[key] = fmt.Sprint(user, err)
}

// flights lets callers that want the same thing share one call.
type flights struct {
	mu      sync.Mutex
	current map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

// do joins the flight for key or starts one, and waits no longer than ctx. The flight belongs to all who wait,
// so it does not end with the one who came first.
func (f *flights) do(ctx context.Context, key string, work func(context.Context) error) error {
	f.mu.Lock()
	joined, flying := f.current[key]
	if !flying {
		joined = &flight{done: make(chan struct{})}
		if f.current == nil {
			f.current = map[string]*flight{}
		}
		f.current[key] = joined
		go f.fly(compat.WithoutCancel(ctx), key, joined, work)
	}
	f.mu.Unlock()
	select {
	case <-joined.done:
		return joined.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *flights) fly(ctx context.Context, key string, own *flight, work func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // info: detached-context singleflight
	defer cancel()
	own.err = work(ctx)
	f.mu.Lock()
	delete(f.current, key)
	f.mu.Unlock()
	close(own.done)
}

func (s *service) singleflight(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	err := s.flights.do(r.Context(), "rates", func(ctx context.Context) error {
		return s.call(ctx, 300*time.Millisecond)
	})
	reply(w, err)
}

// hijack takes the connection and pumps in both directions for half a second.
func hijack(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	hijacker, can := w.(http.Hijacker)
	if !can {
		http.Error(w, "HTTP/1 only", http.StatusNotImplemented)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
	go drain(buffered.Reader)
	go func() {
		defer conn.Close() // ends drain as well
		for i := 0; i < 20; i++ {
			if _, err := fmt.Fprintln(conn, "pump", i); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
}

func drain(in *bufio.Reader) {
	for {
		if _, err := in.ReadByte(); err != nil {
			return
		}
	}
}

// events sends server-sent events until its client leaves.
func events(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	w.Header().Set("Content-Type", "text/event-stream")
	flusher, _ := w.(http.Flusher)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case now := <-ticker.C:
			fmt.Fprintf(w, "data: %d\n\n", now.UnixNano())
			flusher.Flush()
		}
	}
}

// longPoll waits for news that do not come, as long as it has promised.
func longPoll(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if downstream.Pause(r.Context(), 1500*time.Millisecond) {
		w.WriteHeader(http.StatusNoContent)
	}
}

// acceptJob answers 202 and works on, on the process's context.
func (s *service) acceptJob(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go s.job()
	w.WriteHeader(http.StatusAccepted)
}

// job makes steady progress: fifty steps of waiting and some work.
func (s *service) job() {
	const steps = 50
	for i := 0; i < steps; i++ {
		if !downstream.Pause(s.life, s.jobLasts/steps) {
			return
		}
	}
}

// tail leaves a goroutine that ends a second after its request.
func tail(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go func() { time.Sleep(time.Second) }()
	reply(w, nil)
}

// The first request of a tenant starts what keeps its data fresh, for as long as the process lives.
func (s *service) tenant(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if _, known := s.tenants.LoadOrStore(r.FormValue("of"), true); !known {
		go s.keepFresh()
	}
	fmt.Fprintln(w, "ok")
}

func (s *service) keepFresh() {
	for downstream.Pause(s.life, 150*time.Millisecond) {
		_ = s.call(context.Background(), time.Second)
	}
}

// The handler waits for its goroutines, which look at Done.
func gather(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var both sync.WaitGroup
	for i := 0; i < 2; i++ {
		both.Add(1)
		go func() {
			defer both.Done()
			downstream.Pause(r.Context(), 600*time.Millisecond)
		}()
	}
	both.Wait()
	fmt.Fprintln(w, "ok")
}
