package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

func (s *service) healthyRoutes() []app.Route {
	once := &opener{}
	return []app.Route{
		{Path: "/item/ok", Handler: s.item},
		{Path: "/first-row/ok", Handler: s.firstRow},
		{Path: "/order/ok", Handler: s.order},
		{Path: "/rollback/ok", Handler: s.rollback},
		{Path: "/connection/ok", Handler: s.connection},
		{Path: "/per-try/ok", Handler: s.perTry},
		{Path: "/retries/ok", PatienceMS: 700, Handler: s.retries},
		{Path: "/cache-then-db/ok", Handler: s.cacheThenDB},
		{Path: "/once/ok", Handler: once.serve},
		{Path: "/short-lived/ok", Handler: shortLived},
		{Path: "/abandoned/ok", PatienceMS: 300, Handler: s.abandoned},
		{Path: "/parallel/ok", Handler: s.parallel},
	}
}

func (s *service) item(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var name string
	reply(w, s.db.QueryRowContext(r.Context(), `SELECT name FROM items WHERE id = $1`, 7).Scan(&name))
}

// The rest of the rows is not wanted: the query is cancelled and its rows closed, in either order.
func (s *service) firstRow(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	rows, err := s.db.QueryContext(ctx, `SELECT id FROM generate_series(1, 10000) id`)
	if err != nil {
		reply(w, err)
		return
	}
	rows.Next()
	cancel()
	_ = rows.Close()
	reply(w, nil)
}

func (s *service) order(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	tx, err := s.db.BeginTx(r.Context(), &sql.TxOptions{ReadOnly: false})
	if err != nil {
		reply(w, err)
		return
	}
	defer tx.Rollback()
	var stock int
	if err = tx.QueryRowContext(r.Context(), `SELECT stock FROM items WHERE id = $1 FOR UPDATE`, 9).Scan(&stock); err == nil {
		_, err = tx.ExecContext(r.Context(), `UPDATE items SET stock = $1 WHERE id = $2`, stock, 9)
	}
	if err == nil {
		err = tx.Commit()
	}
	reply(w, err)
}

func (s *service) rollback(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	tx, err := s.db.BeginTx(r.Context(), nil)
	if err == nil {
		_, err = tx.StmtContext(r.Context(), s.sleeps).ExecContext(r.Context(), 0.0)
		_ = tx.Rollback()
	}
	reply(w, err)
}

func (s *service) connection(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, err := s.db.Conn(r.Context())
	if err != nil {
		reply(w, err)
		return
	}
	defer conn.Close()
	if err = conn.PingContext(r.Context()); err == nil {
		_, err = conn.ExecContext(r.Context(), `SET statement_timeout = 5000`)
	}
	if err == nil {
		err = s.db.PingContext(r.Context())
	}
	reply(w, err)
}

// Two tries are too slow for their own time, the third is not.
func (s *service) perTry(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	err := errors.New("not tried")
	for _, takes := range []time.Duration{long, long, quick} {
		if err = s.try(r.Context(), takes); err == nil || r.Context().Err() != nil {
			break
		}
	}
	reply(w, err)
}

func (s *service) try(ctx context.Context, takes time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	return s.sleep(ctx, takes)
}

// The waits between the tries end with the request.
func (s *service) retries(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	wait := 100 * time.Millisecond
	for s.try(r.Context(), long) != nil {
		if !downstream.Pause(r.Context(), wait) {
			return
		}
		wait *= 2
	}
	reply(w, nil)
}

// The cache has its own time and misses it; the database then has the request's.
func (s *service) cacheThenDB(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	defer cancel()
	if downstream.Pause(ctx, long) {
		reply(w, nil)
		return
	}
	reply(w, s.sleep(r.Context(), 900*time.Millisecond))
}

// opener opens its pool with the first request.
type opener struct {
	once sync.Once
	db   *sql.DB
}

func (o *opener) serve(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	o.once.Do(func() {
		o.db = open(poolSize)
		if err := o.db.Ping(); err != nil {
			reply(w, err)
		}
	})
	var one int
	reply(w, o.db.QueryRowContext(r.Context(), `SELECT 1`).Scan(&one))
}

// A pool that lives no longer than its request.
func shortLived(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	db := open(poolSize)
	db.SetConnMaxLifetime(time.Second)
	defer db.Close()
	var one int
	reply(w, db.QueryRowContext(r.Context(), `SELECT 1`).Scan(&one))
}

// The client leaves, and the query goes with it.
func (s *service) abandoned(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.sleep(r.Context(), slow))
}

// The first error ends the others, which is what their common context is for.
func (s *service) parallel(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- s.sleep(ctx, long) }()
	go func() {
		_, err := s.db.ExecContext(ctx, `SELECT 1 / (id - id) FROM items`)
		done <- err
	}()
	<-done
	cancel()
	<-done
	reply(w, nil)
}
