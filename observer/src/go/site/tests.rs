//! Prologues of real builds, and hand-made ones that must be refused.

use super::{CodeSource, NoSite, Site, SiteKind, Wanted, find_site};
use crate::go::image::Function;
use crate::go::isa::{Isa, StandIns, for_machine};

/// One function a line: Go version, build, name, length, first bytes.
const PROLOGUES: &str = include_str!("testdata/prologues.txt");

const ENTRY: u64 = 0x40_1000;

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl CodeSource for Bytes {
    fn code(&self, vaddr: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(vaddr.checked_sub(ENTRY)?).ok()?;
        self.0.get(start..start.checked_add(len)?)
    }

    fn code_offset(&self, vaddr: u64) -> Option<u64> {
        vaddr.checked_sub(ENTRY)?.checked_add(0x1000)
    }

    fn isa(&self) -> &'static dyn Isa {
        for_machine(object::elf::EM_X86_64).expect("x86-64")
    }
}

fn find(code: &[u8], wanted: Wanted) -> Result<Site, NoSite> {
    let length = u64::try_from(code.len()).expect("a length");
    let function = Function::at(ENTRY, ENTRY + length);
    find_site(&Bytes(code.to_vec()), &function, wanted)
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("a byte")
        })
        .collect()
}

/// (minor version, build, function, whole code with what follows the first bytes left out)
fn prologues() -> impl Iterator<Item = (u32, &'static str, &'static str, Vec<u8>)> {
    PROLOGUES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let [version, build, name, length, hex] = line
                .split(' ')
                .collect::<Vec<_>>()
                .try_into()
                .expect("five fields");
            let minor = version.split('.').nth(1).expect("a minor version");
            let mut code = bytes(hex);
            code.resize(length.parse().expect("a length"), 0xcc);
            (minor.parse().expect("a number"), build, name, code)
        })
}

#[test]
fn every_kept_prologue_has_a_cheap_site() {
    let mut seen = 0;
    for (minor, build, name, code) in prologues() {
        let site = find(&code, Wanted::AfterStackCheck)
            .unwrap_or_else(|error| panic!("1.{minor} {build} {name}: {error}"));
        let expected = if minor >= 21 {
            SiteKind::Push
        } else {
            SiteKind::StackCheckJump
        };
        assert_eq!(site.kind, expected, "1.{minor} {build} {name}");
        let first = *site.bytes.first().expect("an instruction");
        match expected {
            SiteKind::Push => assert_eq!(&*site.bytes, [0x55]),
            _ => assert!(first == 0x76 || first == 0x0f, "{first:x}"),
        }
        assert_eq!(site.file_offset, site.vaddr - ENTRY + 0x1000);
        seen += 1;
    }
    assert!(seen >= 80, "only {seen} prologues");
}

/// Offsets read off live processes, independently of the finder.
#[test]
fn sites_are_where_live_probes_hit() {
    let known = |minor: u32, build: &str, name: &str| match (name, build) {
        ("context.propagateCancel", "stripped") => Some(4),
        ("context.propagateCancel", "noopt") => Some(9),
        ("context.(*cancelCtx).propagateCancel", "stripped") => {
            Some(if (22..=24).contains(&minor) { 10 } else { 15 })
        }
        ("context.(*cancelCtx).propagateCancel", "race") => Some(15),
        ("context.(*cancelCtx).propagateCancel", "noopt") => Some(18),
        ("net/http.serverHandler.ServeHTTP", "stripped") => Some(if minor <= 20 { 9 } else { 10 }),
        ("net/http.(*connReader).handleReadError", "stripped") => {
            Some(if minor <= 20 { 4 } else { 6 })
        }
        _ => None,
    };
    let mut checked = 0;
    for (minor, build, name, code) in prologues() {
        if let Some(offset) = known(minor, build, name) {
            let site = find(&code, Wanted::AfterStackCheck).expect("a site");
            assert_eq!(site.vaddr - ENTRY, offset, "1.{minor} {build} {name}");
            checked += 1;
        }
    }
    assert!(checked >= 25, "only {checked} checked");
}

fn refused(hex: &str) -> NoSite {
    find(&bytes(hex), Wanted::AfterStackCheck).expect_err("refused")
}

#[test]
fn frames_of_every_size() {
    let site = |hex| find(&bytes(hex), Wanted::AfterStackCheck).map(|s| (s.kind, s.vaddr - ENTRY));
    // mov %rsp,%r12; sub $0x12345,%r12; jb +12; cmp 16(%r14),%r12; jbe +4; push %rbp
    let huge = "4989e4 4981ec45230100 720c 4d3b6610 7604 55 4889e5 c3 cc cc cc cc".replace(' ', "");
    assert_eq!(site(&huge), Ok((SiteKind::Push, 18)));
    // A leaf with a frame: push %rbp; mov %rsp,%rbp; …
    assert_eq!(site("554889e55dc3"), Ok((SiteKind::Push, 0)));
    // A leaf without: mov %rax,%rbx; ret
    assert_eq!(site("4889c3c3"), Ok((SiteKind::Entry, 0)));
}

#[test]
fn surprises_are_refused() {
    // dec %rax; jne entry; ret
    assert_eq!(refused("48ffc875fbc3"), NoSite::LoopsToEntry);
    // cmp 16(%r14),%rsp; jae instead of jbe
    assert!(matches!(refused("493b6610730155c3"), NoSite::Prologue(_)));
    // The jump leaves the function.
    assert!(matches!(
        refused("493b6610767f554889e5c3"),
        NoSite::Prologue(_)
    ));
    // The jump goes back.
    assert!(matches!(
        refused("493b661076fa554889e5c3"),
        NoSite::Prologue(_)
    ));
    // No frame after the check: mov %rax,%rbx
    assert!(matches!(
        refused("493b661076044889c3c3cccccccc"),
        NoSite::Prologue(_)
    ));
    // jmp elsewhere, a trap, nothing.
    assert!(matches!(refused("eb00c3"), NoSite::Prologue(_)));
    assert!(matches!(refused("cccc"), NoSite::Prologue(_)));
    assert!(matches!(refused(""), NoSite::Prologue(_)));
    // Cut short inside the stack check.
    for cut in ["493b6610", "493b66107604", "4c8d642480", "4989e4"] {
        assert!(matches!(refused(cut), NoSite::Prologue(_)), "{cut}");
    }
}

#[test]
fn one_direct_call_or_none() {
    let callee = ENTRY + 0x100;
    let call = |hex: &str| find(&bytes(hex), Wanted::DirectCall { callee });
    // nop; call +0xfa (from +1, five bytes long); ret
    let site = call("90e8fa000000c3").expect("a call");
    assert_eq!((site.kind, site.vaddr), (SiteKind::Call, ENTRY + 1));
    assert_eq!(&*site.bytes, [0xe8, 0xfa, 0, 0, 0]);
    assert_eq!(call("90e8fb000000c3"), Err(NoSite::NoCall));
    assert_eq!(call("e8fb000000e8f6000000c3"), Err(NoSite::SeveralCalls(2)));
    // The same bytes inside another instruction are no call: mov $imm64,%rax
    assert_eq!(call("48b8e8f900000000000000c3"), Err(NoSite::NoCall));
}

#[test]
fn what_names_an_address_is_found_wherever_it_lies() {
    let isa = for_machine(object::elf::EM_X86_64).expect("x86-64");
    for (at, callee) in (0u64..600).zip([ENTRY - 0x100, ENTRY + 0x1000].into_iter().cycle()) {
        let mut code = vec![0x90; 605];
        let distance = callee.wrapping_sub(ENTRY + at + 5).to_le_bytes();
        let call = [&[0xe8], &distance[..4]].concat();
        let place = usize::try_from(at).expect("small");
        code[place..place + 5].copy_from_slice(&call);
        assert_eq!(isa.mentions(&code, ENTRY, callee), [ENTRY + at + 1]);
        assert_eq!(isa.mentions(&code, ENTRY, callee + 1), [0u64; 0]);
    }
    assert_eq!(isa.mentions(&[0x90; 3], ENTRY, ENTRY), [0u64; 0]);
}

#[test]
fn an_address_counts_where_a_call_takes_it() {
    const WANTED: u64 = ENTRY + 0x107;
    let handed = |hex: &str| {
        let code = bytes(&hex.replace(' ', ""));
        let isa = for_machine(object::elf::EM_X86_64).expect("x86-64");
        let at = isa.handed(&code, ENTRY, WANTED, &StandIns::default());
        at.iter()
            .map(|handing| handing.at - ENTRY)
            .collect::<Vec<u64>>()
    };
    // lea wanted(%rip),%rax; call; ret
    assert_eq!(handed("488d0500010000 e800000000 c3"), [0]);
    // Another address; the same, loaded and not taken.
    assert_eq!(handed("488d0501010000 e800000000 c3"), [0u64; 0]);
    assert_eq!(handed("488b0500010000 e800000000 c3"), [0u64; 0]);
    // Returned, and taken after the call.
    assert_eq!(handed("488d0500010000 c3"), [0u64; 0]);
    assert_eq!(handed("e800000000 488d05fb000000 c3"), [0u64; 0]);
    // test %rdx,%rdx; jne +7; lea wanted(%rip),%rdx; call: as r.Context() is inlined up to 1.20.
    assert_eq!(
        handed("4885d2 7507 488d15fb000000 e800000000 c3"),
        [0u64; 0]
    );
    // test %rdx,%rdx; je +2; jmp +7; lea; call: as it is since.
    assert_eq!(
        handed("4885d2 7402 eb07 488d15f9000000 e800000000 c3"),
        [0u64; 0]
    );
    // A branch of the source's own, with its call: je +12; lea; call; ret
    assert_eq!(handed("740c 488d05fe000000 e800000000 c3"), [2]);
}

#[test]
fn each_call_is_told_what_it_is_handed() {
    // lea wanted(%rip),%rax; call; lea wanted(%rip),%rbx; call; call
    let code = bytes("488d0500010000e800000000488d1df4000000e800000000e800000000c3");
    let isa = for_machine(object::elf::EM_X86_64).expect("x86-64");
    let handed = isa.handed(&code, ENTRY, ENTRY + 0x107, &StandIns::default());
    let calls: Vec<_> = handed
        .iter()
        .map(|handing| (handing.at - ENTRY, handing.back - ENTRY))
        .collect();
    assert_eq!(calls, [(0, 12), (12, 24)]);
}

#[test]
fn a_call_counts_as_the_address_that_its_function_stands_for() {
    const GIVER: u64 = ENTRY + 0x105;
    const CARRIER: u64 = ENTRY + 0x205;
    let others = StandIns {
        give: vec![GIVER],
        carry: vec![CARRIER],
    };
    let isa = for_machine(object::elf::EM_X86_64).expect("x86-64");
    let handed = |hex: &str| {
        let code = bytes(&hex.replace(' ', ""));
        let at = isa.handed(&code, ENTRY, ENTRY + 0x107, &others);
        at.iter()
            .map(|handing| handing.at - ENTRY)
            .collect::<Vec<u64>>()
    };
    // call giver; mov %rax,8(%rsp); call; ret: the call of the giver itself takes nothing.
    assert_eq!(handed("e800010000 4889442408 e800000000 c3"), [0]);
    assert_eq!(handed("e800010000 c3"), [0u64; 0]);
    // A choice: call giver; jmp +0; call.
    assert_eq!(handed("e800010000 eb00 e800000000 c3"), [0u64; 0]);
    // call carrier; ret
    assert_eq!(handed("e800020000 c3"), [0]);
    // Another function, and through a register.
    assert_eq!(handed("e801010000 ffd0 e800000000 c3"), [0u64; 0]);

    let returns = |hex: &str| isa.returns_of(&bytes(&hex.replace(' ', "")), ENTRY, &others.give);
    // call giver; mov %rax,8(%rsp); ret
    assert!(returns("e800010000 4889442408 c3"));
    // Something else is called after it, or nothing; it may be kept; only one of two ways ends so.
    assert!(!returns("e800010000 e800000000 c3"));
    assert!(!returns("c3"));
    assert!(!returns("e800010000 7400 c3"));
    assert!(!returns("7406 e8fe000000 c3 c3"));
    // It never ends.
    assert!(!returns("e800010000"));

    assert!(isa.takes(&bytes("488d0500010000c3"), ENTRY, ENTRY + 0x107));
    assert!(!isa.takes(&bytes("488d0501010000c3"), ENTRY, ENTRY + 0x107));
}
