// Command tier is one service of a chain in which nothing is wrong: three of them, each with the address of the next, are
// an edge, a service behind it and a worker. What the client of one does not want any more, none of those behind it
// works on. Every route passes through all tiers; the last one, which has no -next, does the work.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/group"
)

const (
	quick = 20 * time.Millisecond
	// Longer than any budget or client's patience here.
	slow = 2 * time.Second
	// What one try of /retry may take: the first one always takes longer.
	perTry = 150 * time.Millisecond
	// When /hedged asks a second time.
	hedgeAfter = 40 * time.Millisecond
)

type tier struct {
	next string
	http *http.Client
}

func main() {
	next := flag.String("next", "", "base URL of the next tier; without one this tier does the work")
	flag.Parse()
	t := &tier{next: *next, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	app.Run(&http.Server{Handler: app.Mux([]app.Route{
		{Path: "/item", Handler: t.either(t.item, work(quick))},
		{Path: "/slow", PatienceMS: 150, Mode: "drop", Handler: t.either(t.item, work(slow))},
		{Path: "/reset", PatienceMS: 150, Mode: "rst", Handler: t.either(t.item, work(slow))},
		{Path: "/budget", Status: http.StatusGatewayTimeout, Handler: t.either(t.budget, work(slow))},
		{Path: "/fan", Handler: t.either(t.fan, work(quick))},
		{Path: "/fan-fails", Status: http.StatusBadGateway, Handler: t.either(t.fanFails, odd)},
		{Path: "/post", Handler: t.either(t.post, echo)},
		{Path: "/stream", PatienceMS: 200, Mode: "drop", Handler: t.either(t.stream, ticks)},
		{Path: "/retry", Handler: t.either(t.retry, firstSlow)},
		{Path: "/hedged", Handler: t.either(t.hedged, firstSlow)},
	})})
}

// either is what a tier does with a route: pass it on, or do the work.
func (t *tier) either(pass, work http.HandlerFunc) http.HandlerFunc {
	if t.next == "" {
		return work
	}
	return pass
}

// call asks the next tier for the same path, on whose behalf the request says.
func (t *tier) call(ctx context.Context, r *http.Request, body io.Reader, try string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, t.next+r.URL.Path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Request-Id", app.RequestID(r))
	if try == "" {
		try = r.Header.Get("X-Try")
	}
	req.Header.Set("X-Try", try)
	return t.http.Do(req)
}

// answer passes the next tier's answer on.
func answer(w http.ResponseWriter, resp *http.Response, err error) {
	if err != nil {
		status := http.StatusBadGateway
		if strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
			status = http.StatusGatewayTimeout
		}
		http.Error(w, err.Error(), status)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

func (t *tier) item(w http.ResponseWriter, r *http.Request) {
	resp, err := t.call(r.Context(), r, nil, "")
	answer(w, resp, err)
}

// The budget passes, and everybody stops.
func (t *tier) budget(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
	defer cancel()
	resp, err := t.call(ctx, r, nil, "")
	answer(w, resp, err)
}

// Three parts at a time.
func (t *tier) fan(w http.ResponseWriter, r *http.Request) {
	if err := t.parts(r, "1", "2", "3"); err != nil {
		answer(w, nil, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// The second part fails, and the slow ones are given up.
func (t *tier) fanFails(w http.ResponseWriter, r *http.Request) {
	try := r.Header.Get("X-Try")
	if try != "" {
		t.item(w, r)
		return
	}
	if err := t.parts(r, "slow", "fails", "slow"); err != nil {
		answer(w, nil, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (t *tier) parts(r *http.Request, tries ...string) error {
	parts, ctx := group.WithContext(r.Context())
	for _, try := range tries {
		try := try
		parts.Go(func() error {
			resp, err := t.call(ctx, r, nil, try)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("the next tier says %s", resp.Status)
			}
			return nil
		})
	}
	return parts.Wait()
}

func (t *tier) post(w http.ResponseWriter, r *http.Request) {
	resp, err := t.call(r.Context(), r, r.Body, "")
	answer(w, resp, err)
}

// Every chunk goes on as it comes.
func (t *tier) stream(w http.ResponseWriter, r *http.Request) {
	resp, err := t.call(r.Context(), r, nil, "")
	if err != nil {
		answer(w, nil, err)
		return
	}
	defer resp.Body.Close()
	chunk := make([]byte, 1<<10)
	for {
		n, err := resp.Body.Read(chunk)
		if n > 0 {
			if _, err := w.Write(chunk[:n]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
		if err != nil {
			return
		}
	}
}

// The first try takes too long, the second does not. Only the edge tries again.
func (t *tier) retry(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Try") != "" {
		t.item(w, r)
		return
	}
	if !t.try(w, r, "first") && !t.try(w, r, "second") {
		http.Error(w, "failed twice", http.StatusBadGateway)
	}
}

func (t *tier) try(w http.ResponseWriter, r *http.Request, which string) bool {
	ctx, cancel := context.WithTimeout(r.Context(), perTry)
	defer cancel()
	resp, err := t.call(ctx, r, nil, which)
	if err != nil {
		return false
	}
	answer(w, resp, nil)
	return true
}

// The answer that comes first is the answer; the other call is given up. Only the edge hedges.
func (t *tier) hedged(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Try") != "" {
		t.item(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	type outcome struct {
		resp *http.Response
		err  error
	}
	outcomes := make(chan outcome, 2)
	ask := func(which string) {
		resp, err := t.call(ctx, r, nil, which)
		outcomes <- outcome{resp, err}
	}
	go ask("first")
	hedge := time.NewTimer(hedgeAfter)
	defer hedge.Stop()
	select {
	case first := <-outcomes:
		answer(w, first.resp, first.err)
		return
	case <-hedge.C:
		go ask("second")
	}
	first := <-outcomes
	answer(w, first.resp, first.err)
}

// work takes a while and stops as soon as nobody wants the answer.
func work(takes time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if downstream.Pause(r.Context(), takes) {
			fmt.Fprintln(w, "ok")
		}
	}
}

// firstSlow takes longer for a first try than any of its callers waits.
func firstSlow(w http.ResponseWriter, r *http.Request) {
	takes := quick
	if r.Header.Get("X-Try") == "first" {
		takes = slow
	}
	work(takes)(w, r)
}

// odd fails soon for the part that has to fail, and takes long for the others.
func odd(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Try") != "fails" {
		work(slow)(w, r)
		return
	}
	if downstream.Pause(r.Context(), quick) {
		http.Error(w, "no", http.StatusInternalServerError)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(w, r.Body)
}

// ticks writes until its caller leaves, at most for as long as slow work takes.
func ticks(w http.ResponseWriter, r *http.Request) {
	const every = 50 * time.Millisecond
	for until := time.Now().Add(slow); time.Now().Before(until); {
		if _, err := fmt.Fprintln(w, "tick"); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		if !downstream.Pause(r.Context(), every) {
			return
		}
	}
}
