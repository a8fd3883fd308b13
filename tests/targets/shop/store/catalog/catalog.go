// Package catalog answers for the shop's products. Every handler but one stops when its caller leaves.
package catalog

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/observer-targets/internal/app"
)

// Product is one thing the shop sells.
type Product struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
}

var products = []Product{
	{1, "desk lamp", 3900}, {2, "floor lamp", 8900}, {3, "oak table", 42000}, {4, "chair", 9900},
	{5, "shelf", 12900}, {6, "clock", 2900},
}

// Routes are the store's endpoints; ?ms= says how long an answer takes.
func Routes() []app.Route {
	return []app.Route{
		{Path: "/products", Handler: search},
		{Path: "/price", Handler: price},
		{Path: "/stock", Handler: stock},
		{Path: "/delivery", Handler: delivery},
		{Path: "/mail", Handler: mail},
		{Path: "/bundle", Handler: bundle},
	}
}

func search(w http.ResponseWriter, r *http.Request) {
	if !lookup(r, 20*time.Millisecond) {
		return
	}
	found := []Product{}
	for _, p := range products {
		if strings.Contains(p.Name, r.URL.Query().Get("q")) {
			found = append(found, p)
		}
	}
	answer(w, found)
}

func price(w http.ResponseWriter, r *http.Request) {
	if lookup(r, 20*time.Millisecond) {
		answer(w, pick(r).Cents)
	}
}

func stock(w http.ResponseWriter, r *http.Request) {
	if lookup(r, 20*time.Millisecond) {
		answer(w, 3+pick(r).ID)
	}
}

func delivery(w http.ResponseWriter, r *http.Request) {
	if lookup(r, 20*time.Millisecond) {
		answer(w, 1+pick(r).ID)
	}
}

// bundle packs to the end, whoever still waits for it.
func bundle(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	pack(2500 * time.Millisecond)
	w.WriteHeader(http.StatusCreated)
}

func pack(d time.Duration) {
	time.Sleep(d) // want: cancel-ignored shop-bundle
}

func mail(w http.ResponseWriter, r *http.Request) {
	if lookup(r, 400*time.Millisecond) {
		w.WriteHeader(http.StatusAccepted)
	}
}

func pick(r *http.Request) Product {
	id, _ := strconv.Atoi(r.URL.Query().Get("id"))
	for _, p := range products {
		if p.ID == id {
			return p
		}
	}
	return products[0]
}

// lookup stands for the database: it takes its time, and stops when the request does.
func lookup(r *http.Request, usual time.Duration) bool {
	app.RequestID(r)
	if ms, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil {
		usual = time.Duration(ms) * time.Millisecond
	}
	return wait(r.Context(), usual)
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func answer(w http.ResponseWriter, value interface{}) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
