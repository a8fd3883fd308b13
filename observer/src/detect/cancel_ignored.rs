//! # cancel-ignored
//!
//! Work went on after its context had been cancelled.
//!
//! ## What it finds
//!
//! The context of a request was cancelled (the client left, a deadline passed, the connection
//! failed, the server began to shut down), and the handler, or a call that it waits for, was
//! still at work after the grace time (`--grace`, 500 ms). It also finds a derived context that
//! is dead while the goroutine that made it sits in a call on that context or simply works on.
//!
//! The finding appears while the work runs, and once more when it has ended, with the time that
//! was wasted. `at` is the innermost line of your code that the goroutine was in, with what it
//! waited for; where it had ended before observer could look, it is the outermost line of your
//! code under the handler.
//!
//! ## Why it matters
//!
//! Nobody reads the answer any more, yet the request keeps its goroutine, its database
//! connection and its memory. On a slow afternoon clients give up and try again: every retry
//! adds work to the abandoned work, until the service does nothing else.
//!
//! ## Example
//!
//! ```go
//! func GetReport(w http.ResponseWriter, r *http.Request) {
//! 	rows := make(chan Row)
//! 	go query(r.Context(), rows)
//! 	for row := range rows { // waits here although the client has gone
//! 		write(w, row)
//! 	}
//! }
//! ```
//!
//! ## How to fix
//!
//! Wait for the work and for the context, whichever comes first:
//!
//! ```go
//! ctx := r.Context()
//! for {
//! 	select {
//! 	case row, ok := <-rows:
//! 		if !ok {
//! 			return
//! 		}
//! 		write(w, row)
//! 	case <-ctx.Done():
//! 		return
//! 	}
//! }
//! ```
//!
//! In a loop that computes, look at `ctx.Err()` once per round. Hand `ctx` on to everything that
//! takes one: `QueryContext` instead of `Query`, `http.NewRequestWithContext` instead of
//! `http.NewRequest`.
//!
//! ## How sure
//!
//! High, error: the root context was cancelled and the handler had not returned, or the goroutine
//! was seen inside a call on the dead context. Medium, warning: the derived context is dead and
//! no call was seen, and nothing on another live context has begun since. A handler that looks
//! at its context regularly and stops within two of its rounds: warning. During a graceful
//! shutdown: info, until the deadline of `Shutdown` has passed.
//!
//! "The client left" is what the peer of the connection did. It may be a proxy.
//!
//! ## When silent
//!
//! - work that ends within the grace time, clean-up in `defer` included;
//! - the cancel that follows when a handler returns in the normal way;
//! - requests of which events were lost: they are unknown, and counted as such.
