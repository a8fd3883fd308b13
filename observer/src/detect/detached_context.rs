//! # detached-context
//!
//! Work of a request ran on a context that does not descend from the request's.
//!
//! ## What it finds
//!
//! While a request runs, an outgoing call or the handler's own wait uses a context whose chain of
//! parents ends at `context.Background()`, `context.TODO()`, `context.WithoutCancel` or at a type
//! that passes no cancellation on. The finding is made when the context is *used*, never when it
//! is made: a context that is never waited on harms nobody.
//!
//! `at` is the line that made the context without a parent. Where none was made, because
//! `context.Background()` was passed straight to the call, it is the line of the call. `context`
//! shows the chain, and `✂` the place where cancellation stops.
//!
//! ## Why it matters
//!
//! Cancellation and deadlines travel down that chain and nowhere else. Behind the cut, the
//! client's disconnect, the route's timeout and the caller's deadline mean nothing: the call runs
//! as long as it likes.
//!
//! ## Example
//!
//! ```go
//! func (b *Builder) Build(ctx context.Context, id string) (*Report, error) {
//! 	ctx = context.Background() // the request's context ends here
//! 	req, err := http.NewRequestWithContext(ctx, "GET", b.store+"/items/"+id, nil)
//! 	if err != nil {
//! 		return nil, err
//! 	}
//! 	return b.fetch(req)
//! }
//! ```
//!
//! ## How to fix
//!
//! Derive from the context that you were given:
//!
//! ```go
//! ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
//! defer cancel()
//! ```
//!
//! If the work must outlive the request (an audit record, a cache that is being filled), say so
//! and bound it:
//!
//! ```go
//! ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
//! ```
//!
//! A type of your own that embeds a `context.Context` must forward `Done`, `Err` and `Deadline`.
//!
//! ## How sure
//!
//! High where the whole chain was seen. observer walks only through types whose layout it knows;
//! the first other type ends the walk, and descent is then *unknown*, not detached, unless the
//! request was cancelled and the context was not.
//!
//! Warning: `Background` or `TODO` used in the handler. Error: that use went on longer than the
//! grace time after the request had been cancelled. Info: `WithoutCancel` or a type that cuts on
//! purpose; a warning when the handler waited on it and the request has a deadline or was
//! cancelled.
//!
//! ## When silent
//!
//! - contexts of the standard library and of libraries, used inside the library that made them
//!   (connection pools, transports, exporters): at most info;
//! - work that starts after the response; `sync.Once`, pools and clients made by the first
//!   request;
//! - a goroutine of its own whose detached context has a deadline of its own: info.
