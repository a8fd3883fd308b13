//! x86-64 as Go's compiler and linker write it.
//!
//! Every shape is matched in full; an unknown one is an error, never a guess, because a probe
//! in the middle of an instruction kills the target.

mod arguments;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use rustc_hash::FxHashSet;

use super::{Handing, Isa, StandIns, Use};
use crate::go::site::{Candidate, NoSite, SiteKind};

/// The machine.
#[derive(Debug)]
pub(super) struct Amd64;

/// `R_X86_64_RELATIVE`.
const RELATIVE: u32 = 8;

/// `g.stackguard0` and `g.stackguard1`: what a prologue compares the stack pointer with.
const STACK_GUARDS: [u64; 2] = [16, 24];

impl Isa for Amd64 {
    fn relative_relocation(&self) -> u32 {
        RELATIVE
    }

    fn after_stack_check(&self, code: &[u8], entry: u64) -> Result<Candidate, NoSite> {
        let mut instructions = decode(code, entry);
        let first = instructions
            .next()
            .ok_or(NoSite::Prologue("no instruction"))?;
        match stack_check(first, &mut instructions)? {
            Some(jump) => after_check(&jump, instructions.next(), entry, code),
            None => unchecked(&first, code, entry),
        }
    }

    fn direct_calls(&self, code: &[u8], entry: u64, callee: u64) -> Vec<Candidate> {
        decode(code, entry)
            .filter(|i| i.code() == Code::Call_rel32_64 && i.near_branch_target() == callee)
            .filter_map(|i| candidate(&i, entry, SiteKind::Call))
            .collect()
    }

    fn global_loads(&self, code: &[u8], entry: u64) -> Vec<u64> {
        decode(code, entry)
            .filter(|i| i.code() == Code::Mov_r64_rm64 && i.is_ip_rel_memory_operand())
            .map(|i| i.ip_rel_memory_address())
            .collect()
    }

    fn calls(&self, code: &[u8], entry: u64) -> Vec<(u64, Option<u64>)> {
        decode(code, entry)
            .filter(|i| i.mnemonic() == Mnemonic::Call)
            .map(|i| {
                let direct = i.code() == Code::Call_rel32_64;
                (i.next_ip(), direct.then(|| i.near_branch_target()))
            })
            .collect()
    }

    fn handed(&self, code: &[u8], entry: u64, wanted: u64, others: &StandIns) -> Vec<Handing> {
        let joins = joins(code, entry);
        let mut taken = Vec::new();
        let mut handed = Vec::new();
        for i in decode(code, entry) {
            if joins.contains(&i.ip()) {
                taken.clear();
            }
            if takes(&i, wanted) || calls_one_of(&i, &others.carry) {
                taken.push(i.ip());
            }
            if i.mnemonic() == Mnemonic::Call {
                let back = i.next_ip();
                handed.extend(taken.drain(..).map(|at| Handing { at, back }));
                if calls_one_of(&i, &others.give) {
                    taken.push(i.ip());
                }
            } else if !is_plain(&i) {
                taken.clear();
            }
        }
        handed
    }

    fn returns_of(&self, code: &[u8], entry: u64, callees: &[u64]) -> bool {
        let joins = joins(code, entry);
        let mut given = false;
        let mut ends = Vec::new();
        for i in decode(code, entry) {
            if i.mnemonic() == Mnemonic::Ret {
                ends.push(given && !joins.contains(&i.ip()));
            }
            let goes_on = is_plain(&i) && !joins.contains(&i.ip());
            given = calls_one_of(&i, callees) || given && goes_on;
        }
        !ends.is_empty() && !ends.contains(&false)
    }

    fn takes(&self, code: &[u8], entry: u64, wanted: u64) -> bool {
        decode(code, entry).any(|i| takes(&i, wanted))
    }

    fn taken(&self, code: &[u8], entry: u64) -> Vec<u64> {
        decode(code, entry)
            .filter(|i| i.code() == Code::Lea_r64_m && i.is_ip_rel_memory_operand())
            .map(|i| i.ip_rel_memory_address())
            .collect()
    }

    fn indexes(&self, code: &[u8], entry: u64, count: u64, size: u64) -> bool {
        // The multiple of the count below the number: imul $count, q, q; sub q, n; shl $log2(size), n.
        let all: Vec<Instruction> = decode(code, entry).collect();
        all.windows(3).any(|shape| {
            let [multiple, rest, scaled] = shape else {
                return false;
            };
            multiple.code() == Code::Imul_r64_rm64_imm32
                && multiple.immediate(2) == count
                && rest.mnemonic() == Mnemonic::Sub
                && rest.op1_register() == multiple.op0_register()
                && scaled.code() == Code::Shl_rm64_imm8
                && scaled.op0_register() == rest.op0_register()
                && 1u64.checked_shl(scaled.immediate8().into()) == Some(size)
        })
    }

    fn mentions(&self, code: &[u8], start: u64, address: u64) -> Vec<u64> {
        /// Bytes that say how far away something is; the instruction ends with them.
        const DISTANCE: u8 = 4;
        /// Words that are compared before anything is decided.
        const BLOCK: usize = 64;
        let from_start = address
            .wrapping_sub(start)
            .wrapping_sub(u64::from(DISTANCE));
        let low = u32::try_from(from_start & u64::from(u32::MAX));
        let (Ok(from_start), Ok(_)) = (low, u32::try_from(code.len())) else {
            return Vec::new();
        };
        let is_distance =
            |word: [u8; 4], at: u32| u32::from_le_bytes(word).wrapping_add(at) == from_start;
        let mut places = Vec::new();
        for shift in 0..DISTANCE {
            let rest = code.get(usize::from(shift)..).unwrap_or_default();
            let mut first = u32::from(shift);
            for block in rest.as_chunks::<4>().0.chunks(BLOCK) {
                // Without an early end it is a loop that compares several at once.
                let (mut any, mut at) = (false, first);
                for word in block {
                    any |= is_distance(*word, at);
                    at = at.wrapping_add(4);
                }
                if any {
                    let each = block.iter().zip((first..).step_by(4));
                    let found = each.filter(|(word, at)| is_distance(**word, *at));
                    places.extend(found.map(|(_, at)| start.saturating_add(u64::from(at))));
                }
                first = at;
            }
        }
        places.sort_unstable();
        places
    }

    fn uses(&self, code: &[u8], entry: u64, callee: u64) -> Vec<Use> {
        arguments::uses(code, entry, callee)
    }
}

/// Where code goes on that has jumped.
fn joins(code: &[u8], entry: u64) -> FxHashSet<u64> {
    decode(code, entry)
        .filter(jumps)
        .map(|i| i.near_branch_target())
        .collect()
}

fn takes(i: &Instruction, wanted: u64) -> bool {
    i.is_ip_rel_memory_operand()
        && i.code() == Code::Lea_r64_m
        && i.ip_rel_memory_address() == wanted
}

fn calls_one_of(i: &Instruction, functions: &[u64]) -> bool {
    i.code() == Code::Call_rel32_64 && functions.contains(&i.near_branch_target())
}

/// Instructions up to the first that does not decode.
fn decode(code: &[u8], entry: u64) -> impl Iterator<Item = Instruction> + '_ {
    Decoder::with_ip(64, code, entry, DecoderOptions::NONE)
        .into_iter()
        .take_while(|instruction| !instruction.is_invalid())
}

fn candidate(instruction: &Instruction, entry: u64, kind: SiteKind) -> Option<Candidate> {
    Some(Candidate {
        offset: usize::try_from(instruction.ip().checked_sub(entry)?).ok()?,
        kind,
        length: instruction.len(),
    })
}

/// Reads a stack check that begins with `first`; gives its last jump, or `None` when the
/// function begins otherwise.
fn stack_check(
    first: Instruction,
    rest: &mut impl Iterator<Item = Instruction>,
) -> Result<Option<Instruction>, NoSite> {
    let mut next = || {
        rest.next()
            .ok_or(NoSite::Prologue("ends in its stack check"))
    };
    let compare = if compares_guard(&first, Register::RSP) {
        // Small frame: cmp guard, %rsp.
        first
    } else if is_scratch_from_stack(&first, Code::Lea_r64_m) {
        // Large frame: lea -size(%rsp), %r12; cmp guard, %r12.
        next()?
    } else if is_copy_of_stack_pointer(&first) {
        // Huge frame: mov %rsp, %r12; sub $size, %r12; jb grow; cmp guard, %r12.
        let subtract = next()?;
        if subtract.mnemonic() != Mnemonic::Sub || subtract.op0_register() != Register::R12 {
            return Err(NoSite::Prologue(
                "no subtraction in a huge frame's stack check",
            ));
        }
        if next()?.mnemonic() != Mnemonic::Jb {
            return Err(NoSite::Prologue(
                "no underflow test in a huge frame's stack check",
            ));
        }
        next()?
    } else {
        return Ok(None);
    };
    if !compares_guard(&compare, Register::RSP) && !compares_guard(&compare, Register::R12) {
        return Err(NoSite::Prologue("no comparison with the stack guard"));
    }
    let jump = next()?;
    if jump.mnemonic() != Mnemonic::Jbe {
        return Err(NoSite::Prologue(
            "no jump after the comparison with the stack guard",
        ));
    }
    Ok(Some(jump))
}

fn compares_guard(i: &Instruction, register: Register) -> bool {
    i.code() == Code::Cmp_r64_rm64
        && i.op0_register() == register
        && i.op1_kind() == OpKind::Memory
        && i.memory_base() == Register::R14
        && i.memory_index() == Register::None
        && STACK_GUARDS.contains(&i.memory_displacement64())
}

fn is_scratch_from_stack(i: &Instruction, code: Code) -> bool {
    i.code() == code
        && i.op0_register() == Register::R12
        && i.memory_base() == Register::RSP
        && i.memory_index() == Register::None
}

fn is_copy_of_stack_pointer(i: &Instruction) -> bool {
    i.mnemonic() == Mnemonic::Mov
        && i.op0_register() == Register::R12
        && i.op1_kind() == OpKind::Register
        && i.op1_register() == Register::RSP
}

fn pushes_frame_pointer(i: &Instruction) -> bool {
    i.mnemonic() == Mnemonic::Push && i.op0_register() == Register::RBP
}

/// Makes room for the frame as Go 1.20 and older do before saving the frame pointer.
fn adjusts_stack_pointer(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Sub | Mnemonic::Add)
        && i.op0_register() == Register::RSP
        && i.op1_kind() != OpKind::Memory
}

fn after_check(
    jump: &Instruction,
    next: Option<Instruction>,
    entry: u64,
    code: &[u8],
) -> Result<Candidate, NoSite> {
    let next = next.ok_or(NoSite::Prologue("nothing after its stack check"))?;
    let end = u64::try_from(code.len()).map_or(u64::MAX, |length| entry.saturating_add(length));
    let target = jump.near_branch_target();
    if target <= next.ip() || target >= end {
        return Err(NoSite::Prologue(
            "its stack check jumps out of the function",
        ));
    }
    let site = if pushes_frame_pointer(&next) {
        candidate(&next, entry, SiteKind::Push)
    } else if adjusts_stack_pointer(&next) {
        candidate(jump, entry, SiteKind::StackCheckJump)
    } else {
        None
    };
    site.ok_or(NoSite::Prologue("no frame after its stack check"))
}

/// A function that never grows the stack: its first instruction is as good as any.
fn unchecked(first: &Instruction, code: &[u8], entry: u64) -> Result<Candidate, NoSite> {
    let loops = decode(code, entry).any(|i| jumps(&i) && i.near_branch_target() == entry);
    if loops {
        return Err(NoSite::LoopsToEntry);
    }
    if !is_plain(first) {
        return Err(NoSite::Prologue("begins with a jump, a call or a trap"));
    }
    let kind = if pushes_frame_pointer(first) {
        SiteKind::Push
    } else {
        SiteKind::Entry
    };
    candidate(first, entry, kind).ok_or(NoSite::Prologue("no instruction"))
}

fn jumps(i: &Instruction) -> bool {
    i.op0_kind() == OpKind::NearBranch64 && i.mnemonic() != Mnemonic::Call
}

/// Goes on to the next instruction and needs nothing of the kernel to run elsewhere.
fn is_plain(i: &Instruction) -> bool {
    !jumps(i)
        && !matches!(
            i.mnemonic(),
            Mnemonic::Call
                | Mnemonic::Jmp
                | Mnemonic::Ret
                | Mnemonic::Int3
                | Mnemonic::Ud2
                | Mnemonic::Syscall
                | Mnemonic::Hlt
        )
}
