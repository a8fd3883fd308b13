// Package api holds the shop's HTTP handlers.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/group"
	"example.com/observer-targets/shop/front/desk"
	"example.com/observer-targets/shop/front/report"
	"example.com/observer-targets/shop/front/storeclient"
)

// Shop is everything the handlers need.
type Shop struct {
	store   *storeclient.Client
	desk    *desk.Desk
	reports *report.Builder
}

// New returns a shop on top of a store.
func New(store *storeclient.Client) *Shop {
	return &Shop{
		store:   store,
		desk:    &desk.Desk{Busy: 2500 * time.Millisecond},
		reports: &report.Builder{Query: 2500 * time.Millisecond},
	}
}

// Routes are the shop's endpoints: the healthy ones first.
func (s *Shop) Routes() []app.Route {
	return []app.Route{
		{Path: "/", Handler: s.home},
		{Path: "/search", Handler: s.search},
		{Path: "/product", Handler: s.product},
		{Path: "/summary", PatienceMS: 300, Mode: "drop", Handler: s.summary},
		{Path: "/report", PatienceMS: 300, Mode: "drop", Handler: s.report},
		{Path: "/pickup", PatienceMS: 300, Mode: "drop", Handler: s.pickup},
		{Path: "/price", PatienceMS: 300, Mode: "drop", Handler: s.price},
		{Path: "/checkout", PatienceMS: 300, Mode: "drop", Handler: s.checkout},
		{Path: "/cart", Handler: s.cart},
		{Path: "/order", Handler: s.order},
		{Path: "/quote", Handler: s.quote},
		{Path: "/bundle", Status: http.StatusBadGateway, Handler: s.bundle},
	}
}

func (s *Shop) home(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	fmt.Fprintln(w, "welcome")
}

func (s *Shop) search(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	found, err := s.store.Search(ctx, r.URL.Query().Get("q"))
	reply(w, found, err)
}

// product asks for description and stock at once; the first failure stops the other.
func (s *Shop) product(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var page struct {
		Similar []storeclient.Product `json:"similar"`
		Stock   int                   `json:"stock"`
	}
	parts, ctx := group.WithContext(r.Context())
	parts.Go(func() (err error) {
		page.Similar, err = s.store.Search(ctx, "lamp")
		return err
	})
	parts.Go(func() (err error) {
		page.Stock, err = s.store.Stock(ctx, r.URL.Query().Get("id"))
		return err
	})
	err := parts.Wait()
	reply(w, page, err)
}

func (s *Shop) summary(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	text, err := s.reports.Summary(r.Context(), r.URL.Query().Get("month"))
	reply(w, text, err)
}

func (s *Shop) report(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.reports.Build(r.URL.Query().Get("month")), nil)
}

func (s *Shop) pickup(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.desk.Slot(), nil)
}

func (s *Shop) price(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	cents, err := s.store.Price(r.URL.Query().Get("id"))
	reply(w, cents, err)
}

func (s *Shop) checkout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if err := s.desk.Confirm(r.Context(), make(chan struct{})); err != nil {
		w.WriteHeader(http.StatusAccepted) // the customer may still pay within the day
	}
}

// session is what a customer's cart keeps while a request works on it.
type session struct {
	ctx  context.Context
	stop context.CancelFunc
}

func newSession(ctx context.Context) *session {
	s := &session{}
	s.ctx, s.stop = context.WithTimeout(ctx, 5*time.Second) // want: cancel-not-called shop-cart
	return s
}

func (s *Shop) cart(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	visit := newSession(r.Context())
	pieces, err := s.store.Stock(visit.ctx, r.URL.Query().Get("id"))
	reply(w, pieces, err)
}

// order answers at once and has the confirmation sent behind the customer's back.
func (s *Shop) order(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	go s.confirm(r.Context(), r.URL.Query().Get("customer"))
	w.WriteHeader(http.StatusAccepted)
}

func (s *Shop) confirm(ctx context.Context, customer string) {
	if err := s.store.Confirm(ctx, customer); err != nil {
		log.Printf("order of %s not confirmed: %v", customer, err)
	}
}

// quote promises an answer within a second. The call that it makes knows nothing of that.
func (s *Shop) quote(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ask := func(w http.ResponseWriter, _ *http.Request) {
		days, err := s.store.Delivery(r.Context(), r.URL.Query().Get("id"))
		reply(w, days, err)
	}
	handler := http.TimeoutHandler(http.HandlerFunc(ask), time.Second, "ask again")
	handler.ServeHTTP(w, r) // want: deadline-dropped shop-quote deadline
}

// bundle gives the store less time than it takes, and honestly gives up when that is over.
func (s *Shop) bundle(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 400*time.Millisecond) // want: orphaned-downstream shop-bundle deadline
	defer cancel()
	reply(w, nil, s.store.Bundle(ctx, app.RequestID(r), r.URL.Query().Get("id")))
}

func reply(w http.ResponseWriter, value interface{}, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
