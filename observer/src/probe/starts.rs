//! Word of every process that begins to execute a file.

use aya::Ebpf;
use aya::programs::RawTracePoint;

use super::kernel::ProbeError;

const PROGRAM: &str = "process_executed";
/// Hit in the process itself once its new executable is mapped, before it runs (kernel/fs/exec.c).
const TRACEPOINT: &str = "sched_process_exec";

/// Has the kernel write a record into the ring with every exec on this host, for as long as `ebpf` lives.
pub(super) fn watch(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    let failed = |source| ProbeError::Program {
        program: PROGRAM,
        source,
    };
    let program = ebpf
        .program_mut(PROGRAM)
        .ok_or(ProbeError::Lacks(PROGRAM))?;
    let program: &mut RawTracePoint = program.try_into().map_err(failed)?;
    program.load().map_err(failed)?;
    program.attach(TRACEPOINT).map_err(failed)?;
    Ok(())
}
