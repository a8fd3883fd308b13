// Command front calls the store of this folder and gives up early. The request's ID goes on in the header that it
// came in. One handler for each case, because findings of one line are one; /answered and what has /ok behind it
// are healthy.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
)

const (
	patience = 300 * time.Millisecond
	// The rest of a body that never comes.
	unsent = 1 << 20
)

type front struct {
	store string
	http  *http.Client
	// alone has connections of its own: on one that waits in the pool its handler in the store may still be at work.
	alone *http.Client
	// single has one connection, for which calls wait.
	single *http.Client
}

func main() {
	store := flag.String("store", "", "base URL of the store, for example http://127.0.0.1:8081")
	flag.Parse()
	if *store == "" {
		log.Fatal("front needs -store URL")
	}
	// The store signs for itself.
	trusting := &tls.Config{InsecureSkipVerify: true}
	client := func() *http.Client {
		return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: trusting}}
	}
	f := &front{store: *store, http: client(), alone: client(), single: client()}
	f.single.Transport.(*http.Transport).MaxConnsPerHost = 1
	app.Run(&http.Server{Handler: app.Mux([]app.Route{
		{Path: "/deadline", Handler: f.deadline},
		{Path: "/client", PatienceMS: 300, Mode: "drop", Handler: f.client},
		{Path: "/code", Handler: f.code},
		{Path: "/unread", Handler: f.unread},
		{Path: "/traced", Handler: f.traced},
		{Path: "/twins", Handler: f.twins},
		{Path: "/spans", Handler: f.spans},
		{Path: "/anonymous", Handler: f.anonymous},
		{Path: "/anonymous/ok", Handler: f.anonymousOk},
		{Path: "/queued", Handler: f.queued},
		{Path: "/honours/ok", Handler: f.honours},
		{Path: "/in-time/ok", Handler: f.inTime},
		{Path: "/answered", Handler: f.answered},
		{Path: "/quick", Handler: f.quick},
		{Path: "/retry/ok", Handler: f.retry},
	})})
}

// to is a request that says whose it is.
func (f *front) to(ctx context.Context, r *http.Request, path string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.store+path, nil)
	if err != nil {
		panic(err) // the URL is our own
	}
	if id := app.RequestID(r); id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	return req
}

// The deadline of the call passes; the store never looks.
func (f *front) deadline(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience) // want: orphaned-downstream deadline deadline
	defer cancel()
	resp, err := f.http.Do(f.to(ctx, r, "/deadline")) // want: orphaned-downstream deadline
	finish(w, resp, err)
}

// The client of the front leaves, and the call with it.
func (f *front) client(w http.ResponseWriter, r *http.Request) {
	resp, err := f.http.Do(f.to(r.Context(), r, "/client")) // want: orphaned-downstream client
	finish(w, resp, err)
}

// The handler itself has seen enough.
func (f *front) code(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	defer cancel()
	resp, err := f.http.Do(f.to(ctx, r, "/code")) // want: orphaned-downstream code
	finish(w, resp, err)
}

// The store does not read the body, and so its server does not hear that the front leaves.
func (f *front) unread(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	req := f.to(ctx, r, "/unread")
	req.Method, req.ContentLength = http.MethodPost, unsent
	req.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), never{ctx}))
	resp, err := f.http.Do(req) // want: orphaned-downstream unread
	finish(w, resp, err)
}

// never is the rest of a body that does not come.
type never struct{ ctx context.Context }

func (n never) Read([]byte) (int, error) {
	<-n.ctx.Done()
	return 0, n.ctx.Err()
}

// Nothing but the trace goes on, with a span of the front's own.
func (f *front) traced(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	req := f.to(ctx, r, "/traced")
	req.Header.Del("X-Request-Id")
	if parts := strings.Split(r.Header.Get("Traceparent"), "-"); len(parts) == 4 {
		parts[2] = "1111111111111111"
		req.Header.Set("Traceparent", strings.Join(parts, "-"))
	}
	resp, err := f.http.Do(req) // want: orphaned-downstream traced
	finish(w, resp, err)
}

// Two calls that no ID tells apart.
func (f *front) twins(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var both sync.WaitGroup
	for i := 0; i < 2; i++ {
		both.Add(1)
		go func() {
			defer both.Done()
			resp, err := f.http.Do(f.to(ctx, r, "/twins")) // want: orphaned-downstream twins
			finish(io.Discard, resp, err)
		}()
	}
	both.Wait()
	fmt.Fprintln(w, "ok")
}

// Two calls at once, each a span of its own in a trace that begins here.
func (f *front) spans(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	trace := rand.Uint64() | 1
	var both sync.WaitGroup
	for span := 1; span <= 2; span++ {
		req := f.to(ctx, r, "/spans")
		req.Header.Del("X-Request-Id")
		req.Header.Set("Traceparent", fmt.Sprintf("00-%032x-%016x-01", trace, span))
		both.Add(1)
		go func() {
			defer both.Done()
			resp, err := f.http.Do(req) // want: orphaned-downstream spans
			finish(io.Discard, resp, err)
		}()
	}
	both.Wait()
	fmt.Fprintln(w, "ok")
}

// Nothing says whose request it is.
func (f *front) anonymous(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	req := f.to(ctx, r, "/anonymous")
	req.Header.Del("X-Request-Id")
	resp, err := f.http.Do(req) // want: orphaned-downstream anonymous
	finish(w, resp, err)
}

// Nothing says whose request it is, and the store stops all the same.
func (f *front) anonymousOk(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	req := f.to(ctx, r, "/honours")
	req.Header.Del("X-Request-Id")
	resp, err := f.http.Do(req)
	finish(w, resp, err)
}

// The first call is answered while its handler works on; the second is given up before the store has read it. Both take
// the same connection, and what works there is not the second's.
func (f *front) queued(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var both sync.WaitGroup
	for i := 0; i < 2; i++ {
		req := f.to(ctx, r, "/queued")
		req.Header.Del("X-Request-Id")
		both.Add(1)
		go func() {
			defer both.Done()
			resp, err := f.single.Do(req)
			finish(io.Discard, resp, err)
		}()
	}
	both.Wait()
	fmt.Fprintln(w, "ok")
}

// The store stops when the call is given up.
func (f *front) honours(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	resp, err := f.http.Do(f.to(ctx, r, "/honours"))
	finish(w, resp, err)
}

// The store works on for less than the grace time.
func (f *front) inTime(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	resp, err := f.http.Do(f.to(ctx, r, "/in-time"))
	finish(w, resp, err)
}

// The answer is there before the deadline; what the store does afterwards is its own business.
func (f *front) answered(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	resp, err := f.alone.Do(f.to(ctx, r, "/answered"))
	finish(w, resp, err)
}

// The store answers at once.
func (f *front) quick(w http.ResponseWriter, r *http.Request) {
	resp, err := f.http.Do(f.to(r.Context(), r, "/quick"))
	finish(w, resp, err)
}

// The second try is answered.
func (f *front) retry(w http.ResponseWriter, r *http.Request) {
	for _, allowed := range []time.Duration{100 * time.Millisecond, 2 * time.Second} {
		ctx, cancel := context.WithTimeout(r.Context(), allowed)
		resp, err := f.http.Do(f.to(ctx, r, "/retry"))
		if err == nil {
			finish(w, resp, nil)
			cancel()
			return
		}
		cancel()
	}
	fmt.Fprintln(w, "failed twice")
}

func finish(w io.Writer, resp *http.Response, err error) {
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err != nil {
		fmt.Fprintln(w, "gave up:", err)
		return
	}
	fmt.Fprintln(w, "ok")
}
