package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

// Dials for connections that somebody else keeps: the service's code makes them, and is not to blame.
func (s *service) heldRoutes() []app.Route {
	return []app.Route{
		{Path: "/held/transport/ok", Handler: s.transport},
		{Path: "/held/resolver/ok", Handler: s.resolver},
		{Path: "/held/deadline/ok", Handler: within(route, s.deadline)},
	}
}

// dial is what clients are given to dial with. It has a timeout of its own, as such functions mostly do.
func dial(_ context.Context, network, address string) (net.Conn, error) {
	return net.DialTimeout(network, address, long)
}

func (s *service) transport(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, s.base+"/json", nil)
	if err != nil {
		panic(err) // the URL is our own
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err == nil {
		err = resp.Body.Close()
	}
	reply(w, err)
}

// The connection's deadline bounds what the handler waits for.
func (s *service) deadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var dialer net.Dialer
	conn, err := dialer.DialContext(r.Context(), "tcp", s.door)
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(brief))
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	reply(w, err)
}

// Nobody answers the resolver: it dials all the same.
func (s *service) resolver(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, "udp", s.door)
	}}
	_, err := resolver.LookupTXT(ctx, "nobody.example.")
	reply(w, err)
}
