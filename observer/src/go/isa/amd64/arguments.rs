//! Which addresses a function hands to another one, as far as its code alone tells.
//!
//! Follows registers through straight code only: whatever may come from somewhere else is not known.

use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use rustc_hash::FxHashMap;

use super::{decode, is_plain, joins, jumps};
use crate::go::isa::{ARGUMENTS, Use};

/// Registers of the first words of arguments, in Go's order (`ABIInternal`, since Go 1.17).
const REGISTERS: [Register; ARGUMENTS] =
    [Register::RAX, Register::RBX, Register::RCX, Register::RDI];

/// Everything that the function around `code` does with `callee`.
pub(super) fn uses(code: &[u8], entry: u64, callee: u64) -> Vec<Use> {
    let joins = joins(code, entry);
    // Where a table leads to is not known.
    let by_table = decode(code, entry)
        .any(|i| i.mnemonic() == Mnemonic::Jmp && i.op0_kind() != OpKind::NearBranch64);
    let mut registers = Registers {
        known: FxHashMap::default(),
        info: InstructionInfoFactory::new(),
    };
    let (mut found, mut read) = (Vec::new(), 0usize);
    for i in decode(code, entry) {
        if joins.contains(&i.ip()) {
            registers.known.clear();
        }
        if i.code() == Code::Call_rel32_64 && i.near_branch_target() == callee {
            found.push(Use::Call {
                at: i.ip(),
                arguments: if by_table {
                    [None; ARGUMENTS]
                } else {
                    REGISTERS.map(|register| registers.known.get(&register).copied())
                },
            });
        } else if leads_to(&i, callee) {
            found.push(Use::Other);
        }
        registers.after(&i);
        read = read.saturating_add(i.len());
    }
    if read < code.len() {
        // What follows may do anything.
        found.push(Use::Other);
    }
    found
}

fn leads_to(i: &Instruction, address: u64) -> bool {
    (i.is_ip_rel_memory_operand() && i.ip_rel_memory_address() == address)
        || (jumps(i) && i.near_branch_target() == address)
}

/// Registers that hold an address in the image.
struct Registers {
    known: FxHashMap<Register, u64>,
    info: InstructionInfoFactory,
}

impl Registers {
    fn after(&mut self, i: &Instruction) {
        let may_go_on = jumps(i) && i.mnemonic() != Mnemonic::Jmp;
        if !is_plain(i) && !may_go_on {
            // A callee may change any, and what follows the others is reached from elsewhere.
            self.known.clear();
            return;
        }
        let moved = match i.code() {
            Code::Lea_r64_m if i.is_ip_rel_memory_operand() => Some(i.ip_rel_memory_address()),
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if i.op1_kind() == OpKind::Register => {
                self.known.get(&i.op1_register()).copied()
            }
            _ => None,
        };
        for used in self.info.info(i).used_registers() {
            if !matches!(used.access(), OpAccess::Read | OpAccess::CondRead) {
                self.known.remove(&used.register().full_register());
            }
        }
        if let Some(address) = moved
            && i.op0_kind() == OpKind::Register
        {
            self.known.insert(i.op0_register(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Use, uses};

    const ENTRY: u64 = 0x40_1000;
    const CALLEE: u64 = 0x40_2000;
    const KIND: u64 = 0x50_0000;
    const DATA: u64 = 0x50_1000;
    const RAX: u8 = 0;
    const RCX: u8 = 1;
    const RDX: u8 = 2;
    const RDI: u8 = 7;

    /// Code that is written from front to back.
    #[derive(Default)]
    struct Written(Vec<u8>);

    impl Written {
        fn bytes(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }

        /// An instruction that ends in how far away `address` is.
        fn to(self, bytes: &[u8], address: u64) -> Self {
            let next = ENTRY + (self.0.len() + bytes.len() + 4) as u64;
            let distance = u32::try_from(address.wrapping_sub(next) & 0xffff_ffff).unwrap();
            self.bytes(bytes).bytes(&distance.to_le_bytes())
        }

        fn lea(self, register: u8, address: u64) -> Self {
            self.to(&[0x48, 0x8d, 0x05 | register << 3], address)
        }

        fn call(self, address: u64) -> Self {
            self.to(&[0xe8], address)
        }

        fn uses(&self) -> Vec<Use> {
            uses(&self.0, ENTRY, CALLEE)
        }

        /// Third and fourth argument of the only call.
        fn key(self) -> (Option<u64>, Option<u64>) {
            match self.call(CALLEE).uses()[..] {
                [
                    Use::Call {
                        arguments: [_, _, kind, data],
                        ..
                    },
                ] => (kind, data),
                ref other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn addresses_that_straight_code_puts_into_arguments_are_known() {
        let both = Written::default().lea(RCX, KIND).lea(RDI, DATA);
        assert_eq!(both.key(), (Some(KIND), Some(DATA)));
        // mov %rdx,%rcx
        let copied = Written::default().lea(RDX, KIND).bytes(&[0x48, 0x89, 0xd1]);
        assert_eq!(copied.key(), (Some(KIND), None));
        // mov %rcx,8(%rsp); then a branch that leaves: jne +100
        let stored = Written::default().lea(RCX, KIND);
        let stored = stored.bytes(&[0x48, 0x89, 0x4c, 0x24, 8, 0x75, 100]);
        assert_eq!(stored.key(), (Some(KIND), None));
    }

    #[test]
    fn what_may_come_from_elsewhere_is_not_known() {
        let known = || Written::default().lea(RCX, KIND);
        // Other code joins: jne +0
        assert_eq!(known().bytes(&[0x75, 0]).key(), (None, None));
        // A callee may have changed it.
        assert_eq!(known().call(CALLEE + 16).key(), (None, None));
        // mov $1,%ecx; mov 8(%rsp),%rcx; xchg %rcx,%rax
        for changed in [
            &[0xb9, 1, 0, 0, 0][..],
            &[0x48, 0x8b, 0x4c, 0x24, 8],
            &[0x48, 0x91],
        ] {
            assert_eq!(known().bytes(changed).key(), (None, None));
        }
        // A table of jumps leads anywhere: jmp *%rax
        let table = Written::default().bytes(&[0xff, 0xe0]).lea(RCX, KIND);
        assert_eq!(table.key(), (None, None));
    }

    #[test]
    fn what_is_no_call_is_told_of() {
        let taken = Written::default().lea(RAX, CALLEE);
        assert_eq!(taken.uses(), [Use::Other]);
        assert_eq!(Written::default().to(&[0xe9], CALLEE).uses(), [Use::Other]);
        // The same distance inside another instruction: mov $imm64,%rax
        let inside = Written::default().bytes(&[0x48, 0xb8]).call(CALLEE);
        assert_eq!(inside.bytes(&[0; 3]).uses(), []);
        // The end cannot be read.
        assert_eq!(Written::default().bytes(&[0x48, 0xb8]).uses(), [Use::Other]);
    }
}
