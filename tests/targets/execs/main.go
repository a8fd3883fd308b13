// Command execs becomes another program when it is told to: SIGUSR1 replaces it by `sleep 60`, under the same pid.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"example.com/observer-targets/internal/app"
)

func main() {
	flag.Parse()
	go becomeSleep()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		fmt.Fprintln(w, "hello")
	})
	app.Run(&http.Server{Handler: mux})
}

func becomeSleep() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	<-signals
	log.Fatal(syscall.Exec("/bin/sleep", []string{"sleep", "60"}, os.Environ()))
}
