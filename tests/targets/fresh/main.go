// Command fresh makes contexts where nothing was ever written: on spans of memory that Go has just taken from the
// kernel, and on spans that it had given back.
//
//	/first    cancels contexts one after the other as they are made, each before the next; keeps them, so that none
//	          takes another's place
//	/again    lets those of /first go, gives their memory back to the kernel, and does the same there
//
// Both answer {"contexts": N, "split": N, "unwritten": N}: made; of these, begun on one page with their error on the
// next; and of these, cancelled while nobody had written that page.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"

	"example.com/observer-targets/internal/app"
)

const (
	// many contexts for one request: some ten begin at the end of a page, and observer forgets none.
	many = 1000
	page = 4096
	// errorAt is where a cancelCtx has its error, in every version of Go so far.
	errorAt = 48
)

type answer struct {
	Contexts  int `json:"contexts"`
	Split     int `json:"split"`
	Unwritten int `json:"unwritten"`
}

var (
	mu   sync.Mutex
	kept []context.Context
)

func main() {
	flag.Parse()
	// Nothing is freed unless /again says so.
	debug.SetGCPercent(-1)
	app.Run(&http.Server{Handler: app.Mux([]app.Route{
		{Path: "/first", Handler: func(w http.ResponseWriter, r *http.Request) {
			app.RequestID(r)
			mu.Lock()
			defer mu.Unlock()
			tell(w, makeAndCancel())
		}},
		{Path: "/again", Handler: func(w http.ResponseWriter, r *http.Request) {
			app.RequestID(r)
			mu.Lock()
			defer mu.Unlock()
			kept = nil
			debug.FreeOSMemory()
			tell(w, makeAndCancel())
		}},
	})})
}

func tell(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a)
}

func makeAndCancel() answer {
	a := answer{Contexts: many}
	all := make([]context.Context, 0, many)
	for i := 0; i < many; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		// The second word of an interface value is where its value lies.
		at := (*[2]uintptr)(unsafe.Pointer(&ctx))[1]
		if next := (at + errorAt) &^ (page - 1); next > at {
			a.Split++
			if !written(next) {
				a.Unwritten++
			}
		}
		cancel()
		all = append(all, ctx)
	}
	kept = append(kept, all...)
	return a
}

// written says whether the process has the page at this address: it has it once it was written, or read.
func written(at uintptr) bool {
	var has byte
	_, _, failed := syscall.Syscall(syscall.SYS_MINCORE, at, page, uintptr(unsafe.Pointer(&has)))
	return failed != 0 || has&1 != 0
}
