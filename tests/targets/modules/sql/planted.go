package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

func (s *service) plantedRoutes() []app.Route {
	return []app.Route{
		{Path: "/detached/query", PatienceMS: 300, Handler: s.query},
		{Path: "/detached/query/ok", PatienceMS: 300, Handler: s.queryOK},
		{Path: "/detached/cold", PatienceMS: 300, Handler: s.cold},
		{Path: "/detached/exec", PatienceMS: 300, Handler: s.exec},
		{Path: "/detached/exec/ok", PatienceMS: 300, Handler: s.execOK},
		{Path: "/detached/prepared", PatienceMS: 300, Handler: s.prepared},
		{Path: "/detached/prepared/ok", PatienceMS: 300, Handler: s.preparedOK},
		{Path: "/detached/transaction", PatienceMS: 300, Handler: s.transaction},
		{Path: "/detached/transaction/ok", PatienceMS: 300, Handler: s.transactionOK},
		{Path: "/detached/pool", PatienceMS: 300, Handler: s.pool},
		{Path: "/detached/pool/ok", PatienceMS: 300, Handler: s.poolOK},
		{Path: "/hold/ok", Handler: s.hold},
		{Path: "/ignored/query", PatienceMS: 300, Handler: s.ignored},
		{Path: "/premature/query", Handler: s.premature},
		{Path: "/premature/query/ok", Handler: s.prematureOK},
		{Path: "/premature/pool", Handler: s.prematurePool},
		{Path: "/dropped/query", Handler: within(2*time.Second, s.dropped)},
		{Path: "/dropped/query/ok", Handler: within(2*time.Second, s.droppedOK)},
	}
}

// The query knows nothing of the request.
func (s *service) query(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	rows, err := s.db.Query(`SELECT pg_sleep($1), 'planted query' FROM items LIMIT 1`, long.Seconds()) // want: detached-context query
	reply(w, scan(rows, err))
}

func (s *service) queryOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.sleep(r.Context(), long))
}

// The same, before the text of the query has been used.
func (s *service) cold(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	query, err := coldQuery()
	if err != nil {
		reply(w, err)
		return
	}
	rows, err := s.db.Query(query, long.Seconds()) // want: detached-context cold
	reply(w, scan(rows, err))
}

func (s *service) exec(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_, err := s.db.ExecContext(context.TODO(), `UPDATE items SET stock = stock WHERE id = 1 AND pg_sleep($1) IS NOT NULL`, long.Seconds()) // want: detached-context exec
	reply(w, err)
}

func (s *service) execOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_, err := s.db.ExecContext(r.Context(), `UPDATE items SET stock = stock WHERE id = 2 AND pg_sleep($1) IS NOT NULL`, long.Seconds())
	reply(w, err)
}

func (s *service) prepared(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	rows, err := s.sleeps.Query(long.Seconds()) // want: detached-context prepared
	reply(w, scan(rows, err))
}

func (s *service) preparedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, scan(s.sleeps.QueryContext(r.Context(), long.Seconds())))
}

// The transaction has the request's context, the statement in it has none.
func (s *service) transaction(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	tx, err := s.db.BeginTx(r.Context(), nil)
	if err != nil {
		reply(w, err)
		return
	}
	defer tx.Rollback()
	rows, err := tx.Query(`SELECT pg_sleep($1) FROM items LIMIT 1`, long.Seconds()) // want: detached-context transaction
	if err = scan(rows, err); err == nil {
		err = tx.Commit()
	}
	reply(w, err)
}

func (s *service) transactionOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	tx, err := s.db.BeginTx(r.Context(), nil)
	if err != nil {
		reply(w, err)
		return
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(r.Context(), `SELECT pg_sleep($1) FROM items LIMIT 1`, long.Seconds())
	if err = scan(rows, err); err == nil {
		err = tx.Commit()
	}
	reply(w, err)
}

// hold keeps one of the few connections; its client waits.
func (s *service) hold(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, scan(s.crowded.QueryContext(r.Context(), `SELECT pg_sleep($1) FROM items LIMIT 1`, slow.Seconds())))
}

// While two hold the connections, this one waits for the first to come free, whoever has left.
func (s *service) pool(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	rows, err := s.crowded.Query(`SELECT name FROM items LIMIT 1`) // want: detached-context pool
	reply(w, scan(rows, err))
}

func (s *service) poolOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, scan(s.crowded.QueryContext(r.Context(), `SELECT name FROM items LIMIT 1`)))
}

// The server works on for a while when it is told to stop, and lib/pq waits for its word; pgx does not.
func (s *service) ignored(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_, err := s.db.ExecContext(r.Context(), `SELECT stubborn($1) FROM items LIMIT 1`, long.Seconds()) // want: cancel-ignored query
	reply(w, err)
}

// The query of the goroutine dies when the handler returns.
func (s *service) premature(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	started := make(chan struct{})
	go func() {
		close(started)
		rows, err := s.db.QueryContext(r.Context(), `SELECT pg_sleep(0.6) FROM items LIMIT 1`) // want: premature-cancel query
		_ = scan(rows, err)
	}()
	<-started
	time.Sleep(100 * time.Millisecond)
	reply(w, nil)
}

func (s *service) prematureOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error)
	go func() { done <- s.sleep(r.Context(), 100*time.Millisecond) }()
	reply(w, <-done)
}

// The goroutine has not even got a connection when the handler returns.
func (s *service) prematurePool(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	started := make(chan struct{})
	go func() {
		close(started)
		rows, err := s.crowded.QueryContext(r.Context(), `SELECT name FROM items`) // want: premature-cancel pool
		_ = scan(rows, err)
	}()
	<-started
	time.Sleep(100 * time.Millisecond)
	reply(w, nil)
}

// The middleware's deadline does not reach the query.
func (s *service) dropped(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	rows, err := s.db.QueryContext(context.Background(), `SELECT pg_sleep(0.03), name FROM items LIMIT 1`) // want: detached-context dropped
	reply(w, scan(rows, err))
}

func (s *service) droppedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, scan(s.db.QueryContext(r.Context(), `SELECT name FROM items WHERE id = $1`, 3)))
}
