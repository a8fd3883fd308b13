// Command calls makes calls over the HTTP/2 of golang.org/x/net: by its transport alone, and by net/http's that hands
// over to it. Each is one call.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"golang.org/x/net/http2"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/hops"
)

// budget is the deadline of the routes below /late.
const budget = 100 * time.Millisecond

func main() {
	flag.Parse()
	s := hops.Start()
	config := &tls.Config{RootCAs: s.Trust}
	alone := &http.Client{Transport: &http2.Transport{TLSClientConfig: config}}
	handing := &http.Transport{TLSClientConfig: config.Clone()}
	if err := http2.ConfigureTransport(handing); err != nil {
		log.Fatal(err)
	}
	configured := &http.Client{Transport: handing}
	routes := []app.Route{
		{Path: "/alone", Handler: call(alone, s.Secure+"/body?chunks=3&ms=50", 0)},
		{Path: "/alone/chain", Handler: call(alone, s.Secure+"/chain?left=3", 0)},
		{Path: "/alone/late", Handler: call(alone, s.Secure+"/slow?ms=2000", budget)},
		{Path: "/configured", Handler: call(configured, s.Secure+"/body?chunks=3&ms=50", 0)},
		{Path: "/configured/chain", Handler: call(configured, s.Secure+"/chain?left=3", 0)},
		{Path: "/configured/late", Handler: call(configured, s.Secure+"/slow?ms=2000", budget)},
	}
	app.Run(&http.Server{Handler: app.Mux(routes)})
}

// call makes one call, which fails where a budget is too small for it.
func call(client *http.Client, url string, budget time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if budget > 0 {
			limited, cancel := context.WithTimeout(ctx, budget)
			defer cancel()
			ctx = limited
		}
		err := get(ctx, client, url)
		if (err != nil) != (budget > 0) {
			http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		return fmt.Errorf("answered over %s", resp.Proto)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
