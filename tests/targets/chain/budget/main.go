// Command budget is each process of a chain: it serves, and calls the next one for it. How long its caller waits comes
// in the header X-Timeout-Ms. The process that is started with -faulty does something wrong with it, another one with
// the same path nothing. The request's ID goes on in the header that it came in.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

const (
	header = "X-Timeout-Ms"
	// How long the last process of the chain works.
	work = 60 * time.Millisecond
	// More than any caller waits for.
	long = 30 * time.Second
)

type hop struct {
	next   string
	faulty bool
	http   *http.Client
}

func main() {
	next := flag.String("next", "", "base URL of the next process; without one this is the last")
	faulty := flag.Bool("faulty", false, "do what each path is named after")
	flag.Parse()
	h := &hop{next: *next, faulty: *faulty, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	app.Run(&http.Server{Handler: app.Mux([]app.Route{
		{Path: "/kept/ok", Handler: h.kept},
		{Path: "/lost", Handler: h.lost},
		{Path: "/later", Handler: h.later},
		{Path: "/dropped", Handler: h.dropped},
		{Path: "/inflated", Handler: h.inflated},
		{Path: "/broken/ok", Handler: h.kept},
	})})
}

// sound reads how long the caller waits.
func sound(r *http.Request) (time.Duration, bool) {
	ms, err := strconv.Atoi(r.Header.Get(header))
	return time.Duration(ms) * time.Millisecond, err == nil && ms > 0
}

// on is a request to the next process, which says whose it is and how long the context still has.
func (h *hop) on(ctx context.Context, r *http.Request) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.next+r.URL.Path, nil)
	if err != nil {
		panic(err) // the URL is our own
	}
	if id := app.RequestID(r); id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	if at, ok := ctx.Deadline(); ok {
		req.Header.Set(header, strconv.FormatInt(time.Until(at).Milliseconds(), 10))
	}
	return req
}

// Each process lives by what its caller waits for, and hands on what is left.
func (h *hop) kept(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if waits, ok := sound(r); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waits)
		defer cancel()
	}
	if h.next == "" {
		downstream.Pause(ctx, work)
		fmt.Fprintln(w, "ok")
		return
	}
	finish(w)(h.http.Do(h.on(ctx, r)))
}

// The next process is not told how long this one waits.
func (h *hop) lost(w http.ResponseWriter, r *http.Request) {
	waits, ok := sound(r)
	if h.next == "" || !ok {
		downstream.Pause(r.Context(), work) // want: deadline-not-forwarded lost below
		fmt.Fprintln(w, "ok")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), waits) // want: deadline-not-forwarded lost deadline
	defer cancel()
	req := h.on(ctx, r)
	if h.faulty {
		req.Header.Del(header)
	}
	finish(w)(h.http.Do(req)) // want: deadline-not-forwarded lost
}

// The next process is told of more time than there is.
func (h *hop) later(w http.ResponseWriter, r *http.Request) {
	waits, ok := sound(r)
	if h.next == "" || !ok {
		downstream.Pause(r.Context(), work) // want: deadline-not-forwarded later below
		fmt.Fprintln(w, "ok")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), waits) // want: deadline-not-forwarded later deadline
	defer cancel()
	req := h.on(ctx, r)
	if h.faulty {
		req.Header.Set(header, strconv.FormatInt(long.Milliseconds(), 10))
	}
	finish(w)(h.http.Do(req)) // want: deadline-not-forwarded later
}

// What the caller waits for goes on, and this process does not live by it.
func (h *hop) dropped(w http.ResponseWriter, r *http.Request) {
	if h.next == "" || !h.faulty {
		h.kept(w, r)
		return
	}
	req := h.on(r.Context(), r)
	req.Header.Set(header, r.Header.Get(header))
	finish(w)(h.http.Do(req)) // want: deadline-dropped header
}

// The call is given more than the caller waits for.
func (h *hop) inflated(w http.ResponseWriter, r *http.Request) {
	if h.next == "" || !h.faulty {
		h.kept(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), long) // want: deadline-inflated header
	defer cancel()
	finish(w)(h.http.Do(h.on(ctx, r)))
}

func finish(w io.Writer) func(*http.Response, error) {
	return func(resp *http.Response, err error) {
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
}
