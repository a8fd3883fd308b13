//! # premature-cancel
//!
//! The context died while work still wanted it.
//!
//! ## What it finds
//!
//! A call was in flight on a context and failed because that context was cancelled, or a call
//! was started on a context that was dead already, and the cancel was the handler's own doing:
//! the handler returned, or the goroutine that made the call cancelled before it had read the
//! body. It also finds a healthy request that was cancelled by the server's read deadline while
//! its client was still there.
//!
//! `at` is the line of the work that was killed. `cancel` is the line that cancelled, where code
//! did.
//!
//! ## Why it matters
//!
//! The failure is a race: it depends on whether the goroutine or the handler is faster, so it
//! passes every test and comes with load. What it kills is often what nobody looks at, a cache
//! that stays empty or an audit record that is missing.
//!
//! ## Example
//!
//! ```go
//! func Order(w http.ResponseWriter, r *http.Request) {
//! 	order := accept(r)
//! 	go func() {
//! 		// r.Context() is cancelled as soon as Order returns
//! 		if err := audit.Record(r.Context(), order); err != nil {
//! 			log.Print(err)
//! 		}
//! 	}()
//! 	w.WriteHeader(http.StatusAccepted)
//! }
//! ```
//!
//! ## How to fix
//!
//! Give work that outlives its request a context that keeps the values and not the cancel, and a
//! deadline of its own:
//!
//! ```go
//! ctx := context.WithoutCancel(r.Context())
//! go func() {
//! 	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
//! 	defer cancel()
//! 	if err := audit.Record(ctx, order); err != nil {
//! 		log.Print(err)
//! 	}
//! }()
//! ```
//!
//! Read a body to its end before `defer cancel()` runs, that is, in the same function. A
//! `ReadTimeout` shorter than the handler's work cancels it: set `ReadHeaderTimeout`, or give
//! the route its own with `http.ResponseController.SetReadDeadline`.
//!
//! ## How sure
//!
//! High, error: a call on the context was in flight and failed through the cancel. Warning: a
//! call was started on the dead context. For a read deadline it is the cause of the cancel that
//! tells: the error is a timeout of the connection and not its end.
//!
//! ## When silent
//!
//! - a cancel function of your own that stops *another* goroutine's call: `errgroup`, hedged
//!   requests, first answer wins;
//! - a goroutine that is merely still alive when its context dies;
//! - requests of which events were lost: they are unknown, and counted as such.
