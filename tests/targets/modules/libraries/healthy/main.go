// Command libraries/healthy does nothing wrong, with libraries that look as if they might: every route uses one as its
// documentation says. Nothing here may produce a finding at warning or above.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

const quick = 20 * time.Millisecond

// service is what all handlers share.
type service struct {
	base    string
	http    *http.Client
	self    string
	redis   *redis.Client
	flights singleflight.Group
}

func main() {
	socket := flag.String("redis", "", "path of the socket of a redis-server")
	flag.Parse()
	ln := app.Listen()
	s := &service{
		base: downstream.Start(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		self: ln.Addr().String(),
		// Both connections are opened by whichever requests come first, and used by all.
		redis: redis.NewClient(&redis.Options{Network: "unix", Addr: *socket, PoolSize: 2, ContextTimeoutEnabled: true}),
	}
	routes := []app.Route{
		{Path: "/errgroup", Handler: s.group},
		{Path: "/errgroup/fails", Handler: s.groupFails},
		{Path: "/errgroup/left", PatienceMS: 300, Mode: "drop", Handler: s.groupSlow},
		{Path: "/singleflight", Handler: s.shared},
		{Path: "/singleflight/left", PatienceMS: 100, Mode: "drop", Handler: s.sharedSlow},
		{Path: "/redis", Handler: s.store},
		{Path: "/redis/pipeline", Handler: s.pipeline},
		{Path: "/redis/wait", Handler: s.waitForWork},
		{Path: "/websocket", Handler: s.converse},
		{Path: "/hedged", Handler: s.hedged},
		{Path: "/otel/simple", Handler: s.traced(simple(s.base), "simple")},
		{Path: "/otel/batch", Handler: s.traced(batch(s.base), "batch")},
		{Path: "/otel/left", PatienceMS: 300, Mode: "drop", Handler: s.tracedSlow(batch(s.base), "left")},
	}
	mux := app.Mux(routes)
	mux.HandleFunc("/echo", echo)
	srv := &http.Server{Handler: mux}
	go func() {
		if err := srv.Serve(ln); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	app.Announce(ln)
	app.WaitForStop()
	app.Stop(srv)
}

// call asks the downstream for an answer that takes d.
func (s *service) call(ctx context.Context, d time.Duration) error {
	return fetch(ctx, s.http, s.base, d)
}

func fetch(ctx context.Context, client *http.Client, base string, d time.Duration) error {
	url := fmt.Sprintf("%s/slow?ms=%d", base, d.Milliseconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func reply(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, "ok")
}
