//! # cancel-not-called
//!
//! Nobody called the cancel function.
//!
//! ## What it finds
//!
//! `context.WithCancel`, `WithTimeout` and `WithDeadline` return a cancel function. This one was
//! not called by the end of the request plus the grace time: the context was freed by its timer
//! or by its parent, or it still lives.
//!
//! `at` is the line of the `With…` call. Repeats of one line are one finding, with the number of
//! contexts of that line that live now.
//!
//! ## Why it matters
//!
//! Until it is cancelled, a context keeps its timer, its place in the parent's list of children
//! and everything that its values refer to. With a timeout of a minute and 500 requests a second
//! that is 30 000 contexts that nobody needs. Under a parent that never ends it is a leak.
//! `go vet` (lostcancel) sees the cases that lie within one function; this rule sees the others.
//!
//! ## Example
//!
//! ```go
//! func (c *Client) Item(ctx context.Context, id string) (*Item, error) {
//! 	ctx, c.cancel = context.WithTimeout(ctx, time.Minute) // overwritten by the next call
//! 	return c.get(ctx, "/items/"+id)
//! }
//! ```
//!
//! ## How to fix
//!
//! Call it when the work is over, also when it succeeded:
//!
//! ```go
//! ctx, cancel := context.WithTimeout(ctx, time.Minute)
//! defer cancel()
//! return c.get(ctx, "/items/"+id)
//! ```
//!
//! If the result is read later (a response body, rows), hand `cancel` on and call it in `Close`:
//! a `defer` in this function would cut the reader off (see `premature-cancel`).
//!
//! ## How sure
//!
//! High, warning: every call of a cancel function is seen, and this context's own was not among
//! them. The harm is not measured, so it is never an error.
//!
//! ## When silent
//!
//! - contexts made directly by the standard library or by libraries for themselves (a transport
//!   makes one for each connection);
//! - contexts of `context.AfterFunc`;
//! - contexts that do not belong to a request, until the third of one line, or until the timer of
//!   one had to free it;
//! - requests of which events were lost: they are unknown, and counted as such.
