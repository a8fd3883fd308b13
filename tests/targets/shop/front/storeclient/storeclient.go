// Package storeclient calls the store.
package storeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Client calls one store over pooled connections.
type Client struct {
	base string
	http *http.Client
}

// Product is what the store says about a product.
type Product struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
}

// New returns a client of the store at base.
func New(base string) *Client {
	return &Client{base: base, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// Search finds products by a part of their name.
func (c *Client) Search(ctx context.Context, q string) ([]Product, error) {
	var found []Product
	err := c.get(ctx, "/products?q="+url.QueryEscape(q), &found)
	return found, err
}

// Stock says how many pieces there are.
func (c *Client) Stock(ctx context.Context, id string) (int, error) {
	var pieces int
	err := c.get(ctx, "/stock?id="+url.QueryEscape(id), &pieces)
	return pieces, err
}

// Price asks for one price, which takes the store's pricing engine one and a half seconds.
func (c *Client) Price(id string) (int, error) {
	ctx := context.Background()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/price?ms=1500&id="+url.QueryEscape(id), nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req) // want: detached-context shop-price
	if err != nil {
		return 0, err
	}
	var cents int
	err = decode(resp, &cents)
	return cents, err
}

// Delivery says in how many days a product can be there.
func (c *Client) Delivery(ctx context.Context, id string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/delivery?id="+url.QueryEscape(id), nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req) // want: deadline-dropped shop-quote
	if err != nil {
		return 0, err
	}
	var days int
	err = decode(resp, &days)
	return days, err
}

// Bundle has the store pack a gift, under the ID of the request that wants it.
func (c *Client) Bundle(ctx context.Context, requestID, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/bundle?id="+url.QueryEscape(id), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Request-Id", requestID)
	resp, err := c.http.Do(req) // want: orphaned-downstream shop-bundle
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Confirm has the store send the customer a mail.
func (c *Client) Confirm(ctx context.Context, customer string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/mail?to="+url.QueryEscape(customer), nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req) // want: premature-cancel shop-order
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// get frees its own timeout, whatever happens.
func (c *Client) get(ctx context.Context, path string, into interface{}) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	return decode(resp, into)
}

func decode(resp *http.Response, into interface{}) error {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("store: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, resp.Body)
	return err
}
