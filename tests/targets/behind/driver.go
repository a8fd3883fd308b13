package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"time"

	"example.com/observer-targets/internal/downstream"
)

// How a query passes its time.
type patience func(ctx context.Context) error

func deaf(context.Context) error {
	time.Sleep(work) // want: cancel-ignored behind-query
	return nil
}

func obedient(ctx context.Context) error {
	downstream.Pause(ctx, work)
	return ctx.Err()
}

var errUnused = errors.New("not implemented")

// driverOf is a driver of a database whose queries all take their time.
func driverOf(wait patience) driver.Driver { return slowDriver{wait} }

type slowDriver struct{ wait patience }

func (d slowDriver) Open(string) (driver.Conn, error) { return conn(d), nil }

type conn struct{ wait patience }

func (conn) Prepare(string) (driver.Stmt, error) { return nil, errUnused }
func (conn) Begin() (driver.Tx, error)           { return nil, errUnused }
func (conn) Close() error                        { return nil }

func (c conn) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	return rows{}, c.wait(ctx)
}

type rows struct{}

func (rows) Columns() []string         { return []string{"name"} }
func (rows) Close() error              { return nil }
func (rows) Next([]driver.Value) error { return io.EOF }
