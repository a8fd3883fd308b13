// Package rates is a small library with a timeout of its own, as many client libraries have.
package rates

import (
	"context"
	"io"
	"net/http"
	"time"
)

// ownTimeout is the library's habit; a shorter one of its caller wins.
const ownTimeout = 30 * time.Second

// Get asks for the exchange rates.
func Get(ctx context.Context, client *http.Client, base string) error {
	ctx, cancel := context.WithTimeout(ctx, ownTimeout) // info: deadline-inflated library
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/json", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
