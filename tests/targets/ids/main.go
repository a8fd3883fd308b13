// Command ids makes request IDs itself and sends IDs downstream, as services do: a middleware sets the header of the
// answer, and a RoundTripper sets those of outgoing calls before the transport sees them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/selfsigned"
)

const (
	leave = 300
	work  = 1500 * time.Millisecond
)

// service is what all handlers share.
type service struct {
	base string
	http *http.Client
}

func main() {
	flag.Parse()
	s := &service{base: downstream.Start(), http: &http.Client{Transport: tagging{&http.Transport{}}}}
	mux := app.Mux([]app.Route{
		{Path: "/made", PatienceMS: leave, Mode: "drop", Handler: identified("made-by-service", waits)},
		{Path: "/made/many", PatienceMS: leave, Mode: "drop", Handler: identified("made-among-many", waitsAmongMany)},
		{Path: "/made/changing", PatienceMS: leave, Mode: "drop", Handler: changes},
		{Path: "/sent", PatienceMS: leave, Mode: "drop", Handler: s.sends},
		{Path: "/sent/huge", PatienceMS: leave, Mode: "drop", Handler: s.sendsMuch},
		{Path: "/sent/nothing", PatienceMS: leave, Mode: "drop", Handler: s.sendsNothing},
	})
	config, _ := selfsigned.New()
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	https := &http.Server{Handler: mux, TLSConfig: config}
	go func() { log.Fatal(https.ServeTLS(secure, "", "")) }()
	fmt.Println("listening-tls", secure.Addr())
	app.Run(&http.Server{Handler: mux})
}

// identified is a middleware: it makes an ID where the request has none, and answers with it in any case.
func identified(made string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := app.RequestID(r)
		if id == "" {
			id = made
		}
		w.Header().Set("X-Request-ID", id)
		next(w, r)
	}
}

func waits(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	<-time.After(work) // want: cancel-ignored made
}

func waitsAmongMany(w http.ResponseWriter, r *http.Request) {
	for i := 0; i < 300; i++ {
		w.Header().Set(fmt.Sprintf("X-Noise-%d", i), "noise")
	}
	<-time.After(work) // want: cancel-ignored made-many
}

// changes writes into the header for as long as it works: what is read meanwhile is torn, or one of its values.
func changes(w http.ResponseWriter, r *http.Request) {
	for end := time.Now().Add(work); time.Now().Before(end); { // want: cancel-ignored made-changing
		for i := 0; i < 100; i++ {
			w.Header().Set("X-Request-ID", "changing")
			w.Header().Set(fmt.Sprintf("X-Noise-%d", i), "noise")
		}
		for name := range w.Header() {
			w.Header().Del(name)
		}
	}
}

// tagging adds to each call what its callee is to know it by.
type tagging struct{ next http.RoundTripper }

func (t tagging) RoundTrip(r *http.Request) (*http.Response, error) {
	tagged := r.Clone(r.Context())
	if r.URL.Query().Get("tag") != "" {
		tagged.Header.Set("X-Request-ID", r.URL.Query().Get("tag"))
		tagged.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000b7-01")
	}
	return t.next.RoundTrip(tagged)
}

// request asks the downstream for an answer that takes longer than the client's patience, on no context of ours.
func (s *service) request(query string, noise int) *http.Request {
	url := fmt.Sprintf("%s/slow?ms=%d%s", s.base, work.Milliseconds(), query)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		panic(err) // the URL is our own
	}
	for i := 0; i < noise; i++ {
		req.Header.Set(fmt.Sprintf("X-Noise-%d", i), "noise")
	}
	return req
}

func (s *service) sends(w http.ResponseWriter, r *http.Request) {
	resp, err := s.http.Do(s.request("&tag=sent-down", 0)) // want: detached-context sent
	finish(resp, err)
}

func (s *service) sendsMuch(w http.ResponseWriter, r *http.Request) {
	resp, err := s.http.Do(s.request("&tag=sent-among-many", 300)) // want: detached-context sent-among-many
	finish(resp, err)
}

func (s *service) sendsNothing(w http.ResponseWriter, r *http.Request) {
	resp, err := s.http.Do(s.request("", 0)) // want: detached-context sent-nothing
	finish(resp, err)
}

func finish(resp *http.Response, err error) {
	if err == nil {
		_ = resp.Body.Close()
	}
}
