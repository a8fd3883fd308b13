// Command front is the service of the demo shop that customers talk to. Seven of its routes carry a mistake.
package main

import (
	"flag"
	"log"
	"net/http"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/shop/front/api"
	"example.com/observer-targets/shop/front/storeclient"
)

func main() {
	store := flag.String("store", "", "base URL of the store, for example http://127.0.0.1:8081")
	flag.Parse()
	if *store == "" {
		log.Fatal("front needs -store URL")
	}
	shop := api.New(storeclient.New(*store))
	app.Run(&http.Server{Handler: app.Mux(shop.Routes())})
}
