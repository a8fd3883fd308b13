// Command store is the second service of the demo shop: it owns the catalogue. One of its handlers works for nobody.
package main

import (
	"flag"
	"net/http"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/shop/store/catalog"
)

func main() {
	flag.Parse()
	app.Run(&http.Server{Handler: app.Mux(catalog.Routes())})
}
