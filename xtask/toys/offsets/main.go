// A program that uses all that observer reads from a Go process, so that every type is in its DWARF.
// It is built by `cargo xtask offsets` with each version of Go, and never run.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

type key struct{}

func serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), key{}, 1), time.Second)
	defer cancel()
	later(ctx)
	select {
	case <-ctx.Done():
		http.Error(w, ctx.Err().Error(), http.StatusGatewayTimeout)
	default:
		fmt.Fprintln(w, ctx.Value(key{}), r.URL.Path)
	}
}

func call(url string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	var refused *net.OpError
	var syscall *os.SyscallError
	if errors.As(err, &refused) && errors.As(refused.Err, &syscall) {
		return syscall.Err
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func query(db *sql.DB) error {
	return db.QueryRow("select 1").Err()
}

func main() {
	db, err := sql.Open("none", "")
	if err == nil {
		err = query(db)
	}
	fmt.Println(err, call("http://127.0.0.1:1"))
	fmt.Println(http.ListenAndServe("127.0.0.1:0", http.HandlerFunc(serve)))
}
