// Command healthy is the false-positive suite: every route is a program that does nothing wrong, and looks as
// if it might. Nothing here may produce a finding at warning or above; where an info is expected, README.md
// says so. The whole program is one of the cases, too: SIGTERM cancels its base context and shuts it down.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/selfsigned"
)

// service is what all handlers share.
type service struct {
	base string
	http *http.Client
	// life ends at SIGTERM; background work runs on it.
	life context.Context
	// jobLasts is how long an accepted job takes.
	jobLasts time.Duration
	// sessions are those of so many users, with the channels on which they wait for news.
	sessions sync.Map
	users    int64

	// tenants are those whose data is kept fresh.
	tenants sync.Map

	flights flights
	cache   cache
	backend lazyClient
	h2Base  string
	h2      *http.Client
}

func main() {
	jobLasts := flag.Duration("job", 40*time.Second, "how long a job of /job or /report takes")
	flag.Parse()
	life, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := &service{
		base:     downstream.Start(),
		http:     &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		life:     life,
		jobLasts: *jobLasts,
	}
	s.h2Base, s.h2 = startHTTP2()
	srv := &http.Server{
		Handler:     app.Mux(append(append(s.callRoutes(), s.otherRoutes()...), s.lastingRoutes()...)),
		BaseContext: func(net.Listener) context.Context { return life },
	}
	ln := app.Listen()
	go func() {
		if err := srv.Serve(ln); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	app.Announce(ln)
	<-life.Done()
	// The handlers have been told; they get what an orchestrator would give them, only shorter.
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		_ = srv.Close()
	}
	os.Exit(0)
}

// startHTTP2 starts a downstream that speaks HTTP/2 over TLS, and a client of it.
func startHTTP2() (string, *http.Client) {
	config, pool := selfsigned.New()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: downstream.Handler(""), TLSConfig: config}
	go func() { log.Fatal(srv.ServeTLS(ln, "", "")) }()
	return "https://" + ln.Addr().String(), &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool},
	}}
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

// lazyClient is opened by the first request that needs it, and used by all.
type lazyClient struct {
	once   sync.Once
	client *http.Client
	err    error
}

func (l *lazyClient) open(base string) (*http.Client, error) {
	l.once.Do(func() {
		l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
		// The first connection serves the whole process, so it does not depend on the request that came first.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.err = fetch(ctx, l.client, base, 50*time.Millisecond)
	})
	return l.client, l.err
}

func reply(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, "ok")
}
