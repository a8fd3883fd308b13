//! Numbers of the model's entries: never reused within a run.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id! {
    /// A request, from 1.
    ReqId
}
id! {
    /// A context: one life of one address.
    CtxId
}
id! {
    /// A goroutine that a request has started.
    GoId
}
id! {
    /// An outgoing call.
    CallId
}
id! {
    /// A connection that its peer has closed.
    ConnId
}
