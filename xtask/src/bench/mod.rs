//! `cargo xtask bench`: what observing costs, measured here and now. Prints figures; never judges by exit code.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    live::{GO_VERSION, Observer, build, catch_signals, stop_wanted},
    setup,
    workspace::is_root,
};

mod attach;
mod census;
mod client;
mod goroutines;
mod grpc;
mod halfload;
mod ids;
mod inflight;
mod large;
mod latency;
mod load;
mod machine;
mod many;
mod others;
mod programs;
mod session;
mod sockets;
mod sql;
mod statistics;
mod table;
mod throughput;
mod usage;
mod verifier;
mod window;

use table::{Form, Table, Verdict};

/// Measure what observing costs
#[derive(clap::Args)]
pub struct Args {
    /// Only this part; repeatable
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Rounds of interleaved windows
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of a window
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
    /// Attach to an executable of 100 MB too; building it takes some minutes the first time
    #[arg(long)]
    large: bool,
    /// Print markdown, as in docs/performance.md
    #[arg(long)]
    markdown: bool,
}

/// A part that can be run alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Throughput of hello world
    Hello,
    /// Throughput of a JSON handler with a timeout and a call
    Json,
    /// Throughput of a handler with one query of database/sql
    Sql,
    /// Throughput of a unary echo over gRPC
    Grpc,
    /// Throughput of a handler that costs 200 µs of CPU
    Burn200,
    /// Request IDs read always and lazily, 1 and 9 header lines
    Ids,
    /// Following goroutines: servers that start 0, 1 and 10 a request, and goroutines of no request
    Goroutines,
    /// Latency at half load
    HalfLoad,
    /// Attaching and detaching
    Attach,
    /// From the grace time to the finding
    Latency,
    /// Memory with 10 000 requests in flight
    Inflight,
    /// The tracepoint of socket states
    Sockets,
    /// Many processes at once, and others that come and go
    Many,
    /// Pictures of 1 000, 10 000 and 100 000 goroutines
    Census,
    /// Loading each eBPF program
    Load,
}

/// What the parts share.
struct Bench {
    observer: Observer,
    /// `tests/targets/bench`.
    server: PathBuf,
    /// `tests/targets/rules4`.
    rules4: PathBuf,
    /// `tests/targets/client`.
    client: PathBuf,
    rounds: usize,
    seconds: u64,
    large: bool,
    form: Form,
    verdicts: Vec<Verdict>,
}

/// Prepares, builds and measures; tables appear as parts are done.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        is_root(),
        "benchmarks load eBPF programs\n\nhint: run `cargo xtask bench` as root"
    );
    setup::ensure_bench()?;
    eprintln!("bench: building observer and targets");
    let mut bench = Bench {
        observer: Observer::build()?,
        server: build("bench")?,
        rules4: build("rules4")?,
        client: build("client")?,
        rounds: usize::try_from(args.rounds)?,
        seconds: args.seconds,
        large: args.large,
        form: if args.markdown {
            Form::Markdown
        } else {
            Form::Text
        },
        verdicts: Vec::new(),
    };
    catch_signals()?;
    println!(
        "{}\ngo{GO_VERSION}, `wrk -t1 -c16` with keep-alive on the same machine; {} interleaved rounds of {} s windows, \
         medians\n",
        machine::describe(),
        bench.rounds,
        bench.seconds
    );
    for part in Part::value_variants() {
        if stop_wanted() {
            bail!("interrupted");
        }
        if args.only.is_empty() || args.only.contains(part) {
            part.measure(&mut bench)?;
        }
    }
    let verdicts = table::verdicts(&bench.verdicts);
    bench.show(&verdicts);
    Ok(())
}

impl Part {
    fn measure(self, bench: &mut Bench) -> Result<()> {
        match self {
            Self::Hello => throughput::HELLO.measure(bench),
            Self::Json => throughput::JSON.measure(bench),
            Self::Sql => sql::measure(bench),
            Self::Grpc => grpc::measure(bench),
            Self::Burn200 => throughput::BURN200.measure(bench),
            Self::Ids => ids::measure(bench),
            Self::Goroutines => goroutines::measure(bench),
            Self::HalfLoad => halfload::measure(bench),
            Self::Attach => attach::measure(bench),
            Self::Latency => latency::measure(bench),
            Self::Inflight => inflight::measure(bench),
            Self::Sockets => sockets::measure(bench),
            Self::Many => many::measure(bench),
            Self::Census => census::measure(bench),
            Self::Load => verifier::measure(bench),
        }
    }
}

impl Bench {
    fn show(&self, table: &Table) {
        print!("{}", table.render(self.form));
    }
}
