// Command routers serves under the request ID middlewares that people use: chi's keeps the ID in the context, echo's
// and gin's set it in the header of the answer. Every handler works on after its client has left.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
	"github.com/gin-contrib/requestid"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
)

const work = 1500 * time.Millisecond

// ids are what the middlewares made, by path, for the test to compare with.
var ids sync.Map

func main() {
	flag.Parse()
	mux := http.NewServeMux()
	mux.Handle("/chi/", chiRouter())
	mux.Handle("/echo/", echoRouter())
	mux.Handle("/gin/", ginRouter())
	mux.HandleFunc("/ids", func(w http.ResponseWriter, r *http.Request) {
		all := map[string]string{}
		ids.Range(func(path, id any) bool {
			all[path.(string)] = id.(string)
			return true
		})
		_ = json.NewEncoder(w).Encode(all)
	})
	app.Run(&http.Server{Handler: mux})
}

func chiRouter() http.Handler {
	router := chi.NewRouter()
	router.Use(chimiddleware.RequestID)
	router.Get("/chi/derived", func(w http.ResponseWriter, r *http.Request) {
		ids.Store(r.URL.Path, chimiddleware.GetReqID(r.Context()))
		ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
		defer cancel()
		_ = ctx
		<-time.After(work) // want: cancel-ignored chi-derived
	})
	router.Get("/chi/deeper", func(w http.ResponseWriter, r *http.Request) {
		ids.Store(r.URL.Path, chimiddleware.GetReqID(r.Context()))
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, "secret"))
		defer cancel()
		<-time.After(work) // want: cancel-ignored chi-deeper
		_ = ctx
	})
	// No chain that leads to the ID is seen here.
	router.Get("/chi/plain", func(w http.ResponseWriter, r *http.Request) {
		<-time.After(work) // want: cancel-ignored chi-plain
	})
	return router
}

type key struct{}

func echoRouter() http.Handler {
	router := echo.New()
	router.Use(echomiddleware.RequestID())
	router.GET("/echo/wait", func(c echo.Context) error {
		ids.Store(c.Request().URL.Path, c.Response().Header().Get(echo.HeaderXRequestID))
		<-time.After(work) // want: cancel-ignored echo
		return nil
	})
	return router
}

func ginRouter() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(requestid.New())
	router.GET("/gin/wait", func(c *gin.Context) {
		ids.Store(c.Request.URL.Path, requestid.Get(c))
		<-time.After(work) // want: cancel-ignored gin
	})
	return router
}
