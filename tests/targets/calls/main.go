// Command calls makes calls that take more than one round trip, over HTTP/1 or HTTP/2 (-proto): each is one call.
// The routes below /outlive work on a context that is not the request's; the twin of such a route is the same path with
// /ok behind it. Markers are as in rules4; README.md lists what each case expects.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/hops"
)

const (
	// leave is when clients of /outlive leave, in milliseconds.
	leave = 200
	// long is how long the last hop of what they leave takes.
	long = 1400 * time.Millisecond
	// brief is how long /last takes after its answer has begun.
	brief = 50 * time.Millisecond
	// budget is the deadline of /late.
	budget = 100 * time.Millisecond
	// timeout is the client's of /timed.
	timeout = 3 * time.Second
)

var proto = flag.String("proto", "h1", "h1 or h2")

type service struct {
	hops *hops.Service
	base string
	http *http.Client
}

func main() {
	flag.Parse()
	s := &service{hops: hops.Start()}
	s.base = s.hops.Plain
	if *proto == "h2" {
		s.base = s.hops.Secure
	}
	s.http = s.client()
	routes := []app.Route{
		{Path: "/read", Handler: s.read},
		{Path: "/close", Handler: s.closes},
		{Path: "/chain", Handler: s.once(http.MethodGet, "/chain?left=3")},
		{Path: "/away", Handler: s.once(http.MethodGet, "/away")},
		{Path: "/moved", Handler: s.once(http.MethodPost, "/moved")},
		{Path: "/timed", Handler: s.timed},
		{Path: "/loop", Handler: s.loops},
		{Path: "/again", Handler: s.again},
		{Path: "/late", Handler: s.late},
		{Path: "/retry", Handler: s.retry},
		{Path: "/retry-body", Handler: s.retryBody},
		{Path: "/refused", Handler: s.refused},
		{Path: "/aborted", Handler: s.aborted},
		{Path: "/last", Handler: s.last},
		{Path: "/outlive/read", PatienceMS: leave, Mode: "drop", Handler: s.outliveRead},
		{Path: "/outlive/read/ok", PatienceMS: leave, Mode: "drop", Handler: s.once(http.MethodGet, "/slow"+after(long))},
		{Path: "/outlive/chain", PatienceMS: leave, Mode: "drop", Handler: s.outliveChain},
		{Path: "/outlive/chain/ok", PatienceMS: leave, Mode: "drop", Handler: s.once(http.MethodGet, "/chain"+after(long)+"&left=3")},
		{Path: "/outlive/away", PatienceMS: leave, Mode: "drop", Handler: s.outliveAway},
		{Path: "/outlive/away/ok", PatienceMS: leave, Mode: "drop", Handler: s.once(http.MethodGet, "/away"+after(long))},
		{Path: "/outlive/moved", PatienceMS: leave, Mode: "drop", Handler: s.outliveMoved},
		{Path: "/outlive/moved/ok", PatienceMS: leave, Mode: "drop", Handler: s.once(http.MethodPost, "/moved"+after(long))},
		{Path: "/outlive/retry", PatienceMS: leave, Mode: "drop", Handler: s.outliveRetry},
		{Path: "/outlive/retry/ok", PatienceMS: leave, Mode: "drop", Handler: s.retryLong},
	}
	app.Run(&http.Server{Handler: app.Mux(routes)})
}

// client has connections of its own.
func (s *service) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 16,
		ForceAttemptHTTP2:   *proto == "h2",
		TLSClientConfig:     &tls.Config{RootCAs: s.hops.Trust},
	}}
}

func after(d time.Duration) string { return fmt.Sprintf("?ms=%d", d.Milliseconds()) }

// request asks for a path below base; a POST has a body that can be sent again.
func request(ctx context.Context, method, url string) *http.Request {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("three lamps")
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		panic(err) // the URLs are our own
	}
	return req
}

// finish reads the answer to its end.
func finish(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// reply answers 200 in any case: a planted failure is no wrong answer.
func reply(w http.ResponseWriter, err error) {
	if err != nil {
		fmt.Fprintln(w, "failed:", err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// must answers 500 where a healthy call failed.
func must(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *service) once(method, path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		must(w, finish(s.http.Do(request(r.Context(), method, s.base+path))))
	}
}

// read reads what comes in pieces to its end.
func (s *service) read(w http.ResponseWriter, r *http.Request) {
	resp, err := s.http.Do(request(r.Context(), http.MethodGet, s.base+"/body?chunks=3&ms=50"))
	if err == nil && *proto == "h2" && resp.ProtoMajor != 2 {
		err = fmt.Errorf("answered over %s", resp.Proto)
	}
	must(w, finish(resp, err))
}

// closes lets go of an answer that goes on for seconds.
func (s *service) closes(w http.ResponseWriter, r *http.Request) {
	resp, err := s.http.Do(request(r.Context(), http.MethodGet, s.base+"/body?chunks=20&ms=100"))
	if err == nil {
		err = resp.Body.Close()
		// The transport hears of it on another goroutine, and lets the call go there: before the request ends and
		// takes the call with it.
		time.Sleep(50 * time.Millisecond)
	}
	must(w, err)
}

// timed has a timer of the client's, which gives every hop a context of its own.
func (s *service) timed(w http.ResponseWriter, r *http.Request) {
	client := *s.http
	client.Timeout = timeout
	must(w, finish(client.Do(request(r.Context(), http.MethodGet, s.base+"/chain?left=3"))))
}

// loops makes three calls from one line: no redirect among them.
func (s *service) loops(w http.ResponseWriter, r *http.Request) {
	var err error
	for i := 0; i < 3 && err == nil; i++ {
		err = finish(s.http.Do(request(r.Context(), http.MethodGet, s.base+"/json")))
	}
	must(w, err)
}

// again sends anew what a redirect has led to: another call, although that request still names the redirect.
func (s *service) again(w http.ResponseWriter, r *http.Request) {
	resp, err := s.http.Do(request(r.Context(), http.MethodGet, s.base+"/chain?left=1"))
	if err := finish(resp, err); err != nil {
		must(w, err)
		return
	}
	must(w, finish(s.http.Do(resp.Request)))
}

// late has less time than the answer takes.
func (s *service) late(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), budget)
	defer cancel()
	reply(w, finish(s.http.Do(request(ctx, http.MethodGet, s.base+"/chain"+after(long)+"&left=1"))))
}

// warm leaves a connection behind that dies under the next request.
func (s *service) warm(ctx context.Context) (*http.Client, error) {
	client := s.client()
	return client, finish(client.Do(request(ctx, http.MethodGet, s.hops.Frail+"/warm")))
}

func (s *service) retry(w http.ResponseWriter, r *http.Request) {
	client, err := s.warm(r.Context())
	if err == nil {
		err = finish(client.Do(request(r.Context(), http.MethodGet, s.hops.Frail+"/retry")))
	}
	must(w, err)
}

// retryBody has a body to send again, and says that it may be.
func (s *service) retryBody(w http.ResponseWriter, r *http.Request) {
	client, err := s.warm(r.Context())
	if err == nil {
		req := request(r.Context(), http.MethodPost, s.hops.Frail+"/retry-body")
		req.Header.Set("Idempotency-Key", "7")
		err = finish(client.Do(req))
	}
	must(w, err)
}

// aborted has an answer of which the server sends a half.
func (s *service) aborted(w http.ResponseWriter, r *http.Request) {
	err := finish(s.http.Do(request(r.Context(), http.MethodGet, s.base+"/aborted")))
	if err == nil {
		http.Error(w, "it came to its end", http.StatusInternalServerError)
		return
	}
	reply(w, err)
}

// last has a connection of its own: a call that came after it would be tried on this one first.
func (s *service) last(w http.ResponseWriter, r *http.Request) {
	must(w, finish(s.client().Do(request(r.Context(), http.MethodGet, s.base+"/last"+after(brief)))))
}

func (s *service) refused(w http.ResponseWriter, r *http.Request) {
	reply(w, finish(s.http.Do(request(r.Context(), http.MethodGet, s.hops.Refused+"/"))))
}

func (s *service) outliveRead(w http.ResponseWriter, r *http.Request) {
	req := request(context.Background(), http.MethodGet, s.base+"/slow"+after(long))
	resp, err := s.http.Do(req) // want: detached-context read
	reply(w, finish(resp, err))
}

func (s *service) outliveChain(w http.ResponseWriter, r *http.Request) {
	req := request(context.Background(), http.MethodGet, s.base+"/chain"+after(long)+"&left=3")
	resp, err := s.http.Do(req) // want: detached-context chain
	reply(w, finish(resp, err))
}

func (s *service) outliveAway(w http.ResponseWriter, r *http.Request) {
	req := request(context.Background(), http.MethodGet, s.base+"/away"+after(long))
	resp, err := s.http.Do(req) // want: detached-context away
	reply(w, finish(resp, err))
}

func (s *service) outliveMoved(w http.ResponseWriter, r *http.Request) {
	req := request(context.Background(), http.MethodPost, s.base+"/moved"+after(long))
	resp, err := s.http.Do(req) // want: detached-context moved
	reply(w, finish(resp, err))
}

func (s *service) outliveRetry(w http.ResponseWriter, r *http.Request) {
	client, err := s.warm(r.Context())
	if err != nil {
		must(w, err)
		return
	}
	req := request(context.Background(), http.MethodGet, s.hops.Frail+"/retry"+after(long))
	resp, err := client.Do(req) // want: detached-context retry
	reply(w, finish(resp, err))
}

func (s *service) retryLong(w http.ResponseWriter, r *http.Request) {
	client, err := s.warm(r.Context())
	if err == nil {
		err = finish(client.Do(request(r.Context(), http.MethodGet, s.hops.Frail+"/retry"+after(long))))
	}
	must(w, err)
}
