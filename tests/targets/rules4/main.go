// Command rules4 carries one planted mistake per route for cancel-ignored, detached-context,
// cancel-not-called and premature-cancel; the healthy twin of a route is the same path with /ok behind it.
//
// The direct site of a mistake carries `// want: RULE CASE`, other lines that a finding names carry
// `// want: RULE CASE ROLE`. README.md lists what each case expects.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

// service is what all handlers share.
type service struct {
	base string
	http *http.Client
	// life ends with the process; background work runs on it.
	life context.Context
	jobs chan job
	// bare is nobody's.
	bare context.Context
}

func main() {
	base := flag.String("downstream", "", "base URL of the service to call (default: a listener of this process)")
	flag.DurationVar(&work, "work", work, "how long handlers work for")
	flag.Parse()
	if *base == "" {
		*base = downstream.Start()
	}
	life, stop := context.WithCancel(context.Background())
	defer stop()
	s := &service{
		base: *base,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		life: life,
		jobs: make(chan job),
		bare: context.Background(),
	}
	go s.work()

	routes := s.ignoredRoutes()
	routes = append(routes, s.detachedRoutes()...)
	routes = append(routes, s.notCalledRoutes()...)
	routes = append(routes, s.prematureRoutes()...)
	mux := app.Mux(routes)
	// Another instance can use this one as its downstream: -downstream http://ADDR/down
	mux.Handle("/down/", downstream.Handler("/down"))
	app.Run(&http.Server{Handler: mux, ConnContext: app.ConnContext})
}

// slow is a request that the downstream answers after d.
func (s *service) slow(ctx context.Context, d time.Duration) *http.Request {
	return s.request(ctx, fmt.Sprintf("/slow?ms=%d", d.Milliseconds()))
}

func (s *service) request(ctx context.Context, path string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		panic(err) // only a wrong -downstream can do this
	}
	return req
}

// call is a healthy call: nothing outlives it.
func (s *service) call(ctx context.Context, d time.Duration) error {
	return finish(s.http.Do(s.slow(ctx, d))) // want: premature-cancel stillborn
}

func finish(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
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
