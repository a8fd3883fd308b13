// Command leaks starts a goroutine per request that never ends, in as many ways as there are routes; the healthy twin
// of a route is the same path with /ok behind it: the same work with a way out.
//
// The `go` statement of a leak carries `// want: goroutine-leak CASE`.
package main

import (
	"flag"
	"fmt"
	"net/http"

	"example.com/observer-targets/internal/app"
)

func main() {
	flag.Parse()
	holds()
	go feed()
	routes := aged()
	routes = append(routes, locked()...)
	routes = append(routes, calls()...)
	routes = append(routes, proved()...)
	routes = append(routes, healthy()...)
	routes = append(routes, since125()...)
	mux := app.Mux(routes)
	mux.HandleFunc("/pumps", pumps)
	mux.HandleFunc("/pumps/ok", pumps)
	bodies(mux)
	app.Run(&http.Server{Handler: mux})
}

// route is one that answers at once.
func route(path string, start func(r *http.Request)) app.Route {
	return app.Route{Path: path, Handler: func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		start(r)
		fmt.Fprintln(w, "started")
	}}
}

// errNoStock is why a handler returns early.
var errNoStock = fmt.Errorf("no stock")

func stock(ok bool) error {
	if ok {
		return nil
	}
	return errNoStock
}
