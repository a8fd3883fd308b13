//! Which fields of which Go types observer wants, as data.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::dwarf::Struct;

/// One wanted type.
struct Wanted {
    /// What Go has called it, newest first; the first is its name in the data.
    names: &'static [&'static str],
    /// The wanted fields, separated by blanks. `a.b` is field `b` of the struct in field `a`; `new|old` is a field that
    /// has been renamed, `new` being its name in the data.
    fields: &'static str,
}

const fn wanted(names: &'static [&'static str], fields: &'static str) -> Wanted {
    Wanted { names, fields }
}

const WANTED: &[Wanted] = &[
    wanted(
        &["runtime.g"],
        "stack.lo stack.hi m sched.sp sched.pc sched.bp syscallsp syscallpc syscallbp stktopsp atomicstatus goid \
         schedlink waitsince waitreason parentGoid gopc startpc waiting labels \
         trackingSeq",
    ),
    wanted(&["runtime.m"], "g0 procid curg p"),
    wanted(&["runtime.sudog"], "g next prev elem waitlink c"),
    wanted(&["runtime.semaRoot"], "treap"),
    wanted(
        &["runtime.hchan"],
        "qcount dataqsiz buf elemsize closed recvq sendq timer",
    ),
    wanted(&["runtime.mheap"], "arenas allspans"),
    wanted(
        &["runtime.mspan"],
        "startAddr npages elemsize spanclass state specials largeType",
    ),
    wanted(&["runtime.special"], "next offset kind"),
    wanted(
        &["runtime.moduledata"],
        "pcHeader pclntable ftab minpc maxpc text etext rodata types etypes gofunc typelinks itablinks itaboffset \
         textsectmap next",
    ),
    wanted(
        &["internal/abi.Type", "runtime._type"],
        "Size_|size PtrBytes|ptrdata TFlag|tflag Kind_|kind GCData|gcdata Str|str",
    ),
    wanted(
        &["internal/abi.ITab", "runtime.itab"],
        "Inter|inter Type|_type Hash|hash",
    ),
    wanted(&["time.Time"], "wall ext loc"),
    wanted(&["context.cancelCtx"], "Context mu done children err cause"),
    wanted(&["context.timerCtx"], "cancelCtx timer deadline"),
    wanted(&["context.valueCtx"], "Context key val"),
    wanted(&["context.withoutCancelCtx"], "c"),
    wanted(&["context.afterFuncCtx"], "cancelCtx once f"),
    wanted(&["context.stopCtx"], "Context stop"),
    wanted(
        &["net/http.Request"],
        "Method URL Proto ProtoMajor Header Body Host RemoteAddr RequestURI Response Pattern ctx pat",
    ),
    wanted(&["net/http.Response"], "Request"),
    wanted(
        &["net/http.conn"],
        "server cancelCtx rwc remoteAddr werr r curReq hijackedv",
    ),
    wanted(
        &["net/http.Server"],
        "ReadTimeout ReadHeaderTimeout WriteTimeout IdleTimeout",
    ),
    wanted(&["net/http.connReader"], "conn rwc mu inRead hasByte cond"),
    wanted(
        &["net/http.response"],
        "conn req reqBody cancelCtx wroteHeader wroteContinue handlerHeader written contentLength status handlerDone",
    ),
    wanted(&["net/http.body"], "sawEOF closed"),
    wanted(&["net/http.Transport"], "idleConn"),
    wanted(
        &["net/http.persistConn"],
        "t cacheKey conn closech closed canceledErr",
    ),
    wanted(
        &["net/http.transportRequest"],
        "Request cancelKey ctx cancel err",
    ),
    wanted(&["net/http.cancelKey"], "req"),
    wanted(
        &["net/http/internal/http2.stream", "net/http.http2stream"],
        "sc id ctx cancelCtx state",
    ),
    wanted(
        &[
            "net/http/internal/http2.responseWriterState",
            "net/http.http2responseWriterState",
        ],
        "stream req conn handlerHeader status",
    ),
    wanted(
        &[
            "net/http/internal/http2.responseWriter",
            "net/http.http2responseWriter",
        ],
        "rws",
    ),
    wanted(
        &["net/http/internal/http2.ServerRequest"],
        "Context Method URL Header RequestURI",
    ),
    wanted(&["net/url.URL"], "Scheme Host Path"),
    wanted(&["net.OpError"], "Op Err"),
    wanted(&["net.Dialer"], "Timeout Deadline"),
    wanted(&["net.TCPAddr"], "IP Port Zone"),
    wanted(&["net.conn"], "fd"),
    wanted(&["net.netFD"], "laddr raddr"),
    wanted(&["crypto/tls.Conn"], "conn"),
    wanted(&["os.SyscallError"], "Syscall Err"),
    wanted(&["database/sql.DB"], "connector numOpen"),
    wanted(&["database/sql.driverConn"], "db ci"),
];

/// What every gRPC stream begins with, at both ends.
pub const GRPC_STREAM: &str = "google.golang.org/grpc/internal/transport.Stream";

/// Those of gRPC-go. A server's stream is a type of its own from 1.69 on, with this one at its beginning.
const WANTED_OF_GRPC: &[Wanted] = &[
    wanted(&[GRPC_STREAM], "ctx method"),
    wanted(
        &["google.golang.org/grpc/internal/transport.ServerStream"],
        "Stream",
    ),
    wanted(&["google.golang.org/grpc.ClientConn"], "authority"),
    wanted(&["google.golang.org/grpc/metadata.rawMD"], "md added"),
];

/// The names of all types to look for: the wanted ones in all their spellings. Types of nested fields are found through
/// the field.
pub fn names() -> BTreeSet<&'static str> {
    names_of(WANTED)
}

/// The same for gRPC-go.
pub fn grpc_names() -> BTreeSet<&'static str> {
    names_of(WANTED_OF_GRPC)
}

fn names_of(wanted: &[Wanted]) -> BTreeSet<&'static str> {
    wanted
        .iter()
        .flat_map(|wanted| wanted.names)
        .copied()
        .collect()
}

/// The wanted types out of those found: `{"size": …, "fields": {…}}`, and with `"pointers"` where an embedded struct is
/// embedded by pointer; null for a type that this version does not have.
pub fn select(structs: &BTreeMap<String, Struct>) -> Value {
    select_of(WANTED, structs)
}

/// The same for gRPC-go.
pub fn select_grpc(structs: &BTreeMap<String, Struct>) -> Value {
    select_of(WANTED_OF_GRPC, structs)
}

fn select_of(wanted: &[Wanted], structs: &BTreeMap<String, Struct>) -> Value {
    let entry = |wanted: &Wanted| {
        let (name, _) = wanted.names.split_first()?;
        let found = wanted.names.iter().find_map(|name| structs.get(*name));
        Some((
            (*name).to_owned(),
            found.map_or(Value::Null, |found| describe(found, wanted.fields)),
        ))
    };
    Value::Object(wanted.iter().filter_map(entry).collect())
}

fn describe(found: &Struct, wanted: &str) -> Value {
    let mut fields = Map::new();
    let mut pointers = Vec::new();
    for spellings in wanted.split_whitespace() {
        let field = spellings.split('|').find_map(|path| found.field(path));
        let name = spellings.split('|').next().unwrap_or(spellings);
        if field.is_some_and(|field| field.embedded_pointer) {
            pointers.push(name);
        }
        fields.insert(
            name.to_owned(),
            field.map_or(Value::Null, |field| json!(field.offset)),
        );
    }
    let mut value = json!({"size": found.size, "fields": fields});
    if let (Some(object), false) = (value.as_object_mut(), pointers.is_empty()) {
        object.insert("pointers".to_owned(), json!(pointers));
    }
    value
}
