// Command behind leaves goroutines at work for requests whose clients have gone: behind a handler that waits, or that has
// returned. The healthy twin of a route is the same path with /ok behind it.
//
// The direct site of a mistake carries `// want: RULE CASE`; the `go` statement of the goroutine that it is about
// `// want: RULE CASE go`.
package main

import (
	"database/sql"
	"flag"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

const (
	leave    = 300 // the client's patience, in milliseconds
	work     = 2 * time.Second
	generous = 30 * time.Second
)

type service struct {
	base string
	http *http.Client
	// deaf runs queries to their end, obedient stops them with their context.
	deaf, obedient *sql.DB
}

func main() {
	flag.Parse()
	sql.Register("deaf", driverOf(deaf))
	sql.Register("obedient", driverOf(obedient))
	s := &service{
		base:     downstream.Start(),
		http:     &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		deaf:     open("deaf"),
		obedient: open("obedient"),
	}
	routes := append(s.beside(), s.behind()...)
	app.Run(&http.Server{Handler: app.Mux(routes)})
}

func open(driver string) *sql.DB {
	db, err := sql.Open(driver, "")
	if err != nil {
		panic(err) // the driver was registered above
	}
	return db
}

// dropped is a route whose client does not wait.
func dropped(path string, handler http.HandlerFunc) app.Route {
	return app.Route{Path: path, PatienceMS: leave, Mode: "drop", Handler: handler}
}
