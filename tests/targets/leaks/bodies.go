package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// bodies leave two goroutines of the transport behind, and their connection: they wait for somebody to read the answer.
func bodies(mux *http.ServeMux) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("three lamps\n", 10_000))
	}))
	client := &http.Client{Transport: &http.Transport{}}
	get := func(ctx context.Context) io.ReadCloser {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, store.URL, nil)
		if err != nil {
			panic(err) // the URL is our own
		}
		resp, err := client.Do(req)
		if err != nil {
			panic(err) // so is the store
		}
		return resp.Body
	}
	mux.HandleFunc("/body", route("/body", func(*http.Request) { get(context.Background()) }).Handler) // want: detached-context body
	mux.HandleFunc("/body/ok", route("/body/ok", func(r *http.Request) { get(r.Context()).Close() }).Handler)
}
