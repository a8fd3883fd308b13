package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/observer-targets/internal/app"
)

// store writes and reads; each of the two has its own time.
func (s *service) store(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	if err := s.put(r.Context(), "greeting", "hello"); err != nil {
		reply(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	reply(w, s.redis.Get(ctx, "greeting").Err())
}

func (s *service) put(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.redis.Set(ctx, key, value, time.Minute).Err()
}

func (s *service) pipeline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	_, err := s.redis.TxPipelined(r.Context(), func(pipe redis.Pipeliner) error {
		pipe.Incr(r.Context(), "visits")
		pipe.Expire(r.Context(), "visits", time.Hour)
		return nil
	})
	reply(w, err)
}

// waitForWork asks for an element that does not come, for as long as it has promised.
func (s *service) waitForWork(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 300*time.Millisecond)
	defer cancel()
	err := s.redis.BLPop(ctx, time.Second, "nobody-writes-here").Err()
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		err = nil
	}
	reply(w, err)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
