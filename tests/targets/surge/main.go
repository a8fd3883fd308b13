// Command surge starts goroutines that stay: some before it is ready, and a burst of them when asked.
//
// The `go` statement of a burst carries `// want: goroutine-surge CASE`; the stack of its goroutines, the mark of the
// case's wait.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
)

var workers = flag.Int("workers", 0, "goroutines that wait before the program is ready")

// never and norEver are what goroutines wait for that stay.
var never, norEver = make(chan struct{}), make(chan struct{})

func main() {
	flag.Parse()
	for i := 0; i < *workers; i++ {
		go worker()
	}
	app.Run(&http.Server{Handler: app.Mux([]app.Route{
		{Path: "/burst", Handler: burst},
		{Path: "/pool/ok", Handler: pool},
		{Path: "/steady/ok", Handler: steady},
	})})
}

func worker() { <-never }

// burst starts as many goroutines as `n` says, and a fourth as many of another kind.
func burst(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		http.Error(w, "n is no number", http.StatusBadRequest)
		return
	}
	for i := 0; i < n; i++ {
		go stays() // want: goroutine-surge burst
	}
	for i := 0; i < n/4; i++ {
		go staysToo() // want: goroutine-surge beside
	}
	fmt.Fprintln(w, "started")
}

func stays() {
	<-never // want: goroutine-surge burst wait
}

func staysToo() {
	select {
	case <-never:
	case <-norEver:
	}
}

// pool does as much work as a burst of 2 000, by sixteen goroutines at once.
func pool(w http.ResponseWriter, r *http.Request) {
	jobs := make(chan int)
	var all sync.WaitGroup
	for i := 0; i < 16; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for range jobs {
				time.Sleep(time.Millisecond)
			}
		}()
	}
	for i := 0; i < 2000; i++ {
		jobs <- i
	}
	close(jobs)
	all.Wait()
	fmt.Fprintln(w, "done")
}

// steady works for a while with two goroutines of its own.
func steady(w http.ResponseWriter, r *http.Request) {
	var all sync.WaitGroup
	for i := 0; i < 2; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			time.Sleep(20 * time.Millisecond)
		}()
	}
	all.Wait()
	fmt.Fprintln(w, "done")
}
