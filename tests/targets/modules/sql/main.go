// Command sql carries one planted mistake per route in what a service does with database/sql and PostgreSQL; the
// healthy twin of a route is the same path with /ok behind it. Markers are as in rules4; README.md lists what each
// case expects. Every route runs over the driver that -driver names.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"example.com/observer-targets/internal/app"
)

var (
	driver = flag.String("driver", "pgx", "`pgx` or `postgres` (lib/pq)")
	dsn    = flag.String("dsn", "", "where PostgreSQL is, as the drivers read it")
)

const (
	quick = 20 * time.Millisecond
	brief = 300 * time.Millisecond
	long  = 1500 * time.Millisecond
	slow  = 1800 * time.Millisecond
	// poolSize is small, so that two queries are enough to make others wait.
	poolSize = 2
)

// service is what all handlers share.
type service struct {
	db *sql.DB
	// crowded is a pool that the routes about waiting have for themselves.
	crowded *sql.DB
	sleeps  *sql.Stmt
}

func main() {
	flag.Parse()
	s := &service{db: open(32), crowded: open(poolSize)}
	if err := s.prepare(); err != nil {
		log.Fatal(err)
	}
	routes := s.plantedRoutes()
	routes = append(routes, s.healthyRoutes()...)
	app.Run(&http.Server{Handler: app.Mux(routes), ConnContext: app.ConnContext})
}

func open(connections int) *sql.DB {
	db, err := sql.Open(*driver, *dsn)
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// prepare makes what the routes use. The function works on when its query is cancelled, which a server may do; PostgreSQL
// signals the process and then its group, so one cancel may come twice.
func (s *service) prepare() (err error) {
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS items (id int PRIMARY KEY, name text, stock int)`,
		`INSERT INTO items SELECT n, 'item ' || n, 100 FROM generate_series(1, 100) n ON CONFLICT DO NOTHING`,
		`CREATE OR REPLACE FUNCTION stubborn(seconds float8) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			BEGIN
				PERFORM pg_sleep(60);
			EXCEPTION WHEN query_canceled THEN
				BEGIN
					PERFORM pg_sleep(seconds);
				EXCEPTION WHEN query_canceled THEN
					PERFORM pg_sleep(seconds);
				END;
			END;
		END $$`,
	} {
		if _, err = s.db.Exec(statement); err != nil {
			return err
		}
	}
	if err = warm(s.db, 24); err != nil {
		return err
	}
	s.sleeps, err = s.db.Prepare(`SELECT pg_sleep($1), name FROM items LIMIT 1`)
	return err
}

// warm opens that many connections: a busy machine takes longer to open one than some clients have patience.
func warm(db *sql.DB, connections int) error {
	for i := 0; i < connections; i++ {
		conn, err := db.Conn(context.Background())
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	return nil
}

// sleep is a healthy query of this length.
func (s *service) sleep(ctx context.Context, d time.Duration) error {
	return scan(s.db.QueryContext(ctx, `SELECT pg_sleep($1), 'healthy' FROM items LIMIT 1`, d.Seconds()))
}

// scan reads all rows.
func scan(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// reply answers 200 in any case: a planted failure is no wrong answer.
func reply(w http.ResponseWriter, err error) {
	if err != nil {
		fmt.Fprintln(w, "failed:", err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// within is the middleware that gives a route its deadline.
func within(d time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return limited{d, next}.ServeHTTP
}

type limited struct {
	d    time.Duration
	next http.Handler
}

func (l limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), l.d) // want: sql middleware deadline
	defer cancel()
	l.next.ServeHTTP(w, r.WithContext(ctx))
}
