//! One executable file: what it was built from, where its functions and types are, and which
//! source lines a program counter stands for.
//!
//! Owns the mapping of the file, and is the only place that names the pclntab parser. Reads
//! nothing of a process: addresses are those in the file, before the load bias is added.

mod build;
mod bytes;
mod callees;
mod elf;
mod error;
mod frames;
mod functions;
mod handed;
mod home;
mod moduledata;
mod pclntab;
mod runtime_vars;
mod types;
mod values;

use std::fs::File;
use std::sync::OnceLock;

use memmap2::Mmap;
use rustc_hash::FxHashSet;

pub use elf::LoadRange;
pub use error::ImageError;
pub use functions::{Function, FunctionRef};
pub use runtime_vars::{AllgsVars, NoAllgs, SemTableVar};
pub use values::Key;

use self::build::Build;
use self::callees::Callees;
use self::elf::Elf;
use self::frames::InlineShape;
use self::functions::Index;
use self::home::Folders;
use self::moduledata::Module;
use self::pclntab::{Header, Record, Table};
use self::types::Types;
use self::values::Values;
use crate::go::isa::Isa;
use crate::go::site::CodeSource;
use crate::go::{Frame, GoVersion, TypeName};

/// An opened Go executable.
#[derive(Debug)]
pub struct Image {
    data: Mmap,
    elf: Elf,
    build: Build,
    header: Header,
    module: Module,
    index: OnceLock<Index>,
    values: OnceLock<Values>,
    inlined: OnceLock<Option<FxHashSet<i32>>>,
    folders: OnceLock<Folders>,
    callees: Callees,
}

/// How to step from a frame to its caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackStep {
    /// Bytes from the stack pointer to the return address.
    pub sp_delta: i32,
    /// A stack ends here (`runtime.goexit`, `runtime.mstart`, …).
    pub top: bool,
    /// The function changes stacks, so `sp_delta` cannot be trusted.
    pub writes_sp: bool,
}

impl Image {
    /// Maps and understands an executable. A file that is none is refused after its headers,
    /// however long it is.
    ///
    /// # Errors
    /// See [`ImageError`]: each way to fail has its own variant.
    pub fn open(file: &File) -> Result<Self, ImageError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(ImageError::NotElf);
        }
        // SAFETY: the mapping is private and read-only, and every read is bounds-checked
        // against its length. The kernel forbids writing to an executable that runs; a file
        // that is truncated meanwhile can still fault, as in every program that maps files.
        let data = unsafe { Mmap::map(file)? };
        Self::from_map(data)
    }

    fn from_map(data: Mmap) -> Result<Self, ImageError> {
        let elf = Elf::read(&data)?;
        if !elf.has_go_mark() {
            return Err(ImageError::NotGo {
                why: "no Go section or note",
            });
        }
        let build = Build::read(&elf, &data)?;
        let header = Header::find(&elf, &data)?;
        let module = Module::find(&elf, &data, &header, build.version.minor)?;
        Ok(Self {
            data,
            elf,
            build,
            header,
            module,
            index: OnceLock::new(),
            values: OnceLock::new(),
            inlined: OnceLock::new(),
            folders: OnceLock::new(),
            callees: Callees::default(),
        })
    }

    /// The Go that built it.
    #[must_use]
    pub fn go_version(&self) -> &GoVersion {
        &self.build.version
    }

    /// Go's build id; the linker's (`gnu:…`) where Go wrote none; empty where there is neither.
    #[must_use]
    pub fn build_id(&self) -> &str {
        &self.elf.build_id
    }

    /// Path of the main module; empty for a build outside of one.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.build.module
    }

    /// Import path of the main package (`command-line-arguments` when built from named files).
    #[must_use]
    pub fn main_package(&self) -> &str {
        &self.build.main_package
    }

    /// The main module and those that a `replace` takes from a local folder: the user's own code.
    #[must_use]
    pub fn own_modules(&self) -> &[String] {
        &self.build.own_modules
    }

    /// Version of a module that it was built with, such as `v1.62.1`; `None` also where another took its place.
    #[must_use]
    pub fn dependency(&self, path: &str) -> Option<&str> {
        self.build.dependency(path)
    }

    /// A setting of the build (`-race`, `-pgo`, `CGO_ENABLED`, `vcs.revision`).
    #[must_use]
    pub fn build_setting(&self, key: &str) -> Option<&str> {
        self.build.setting(key)
    }

    /// Whether the loader chooses its address.
    #[must_use]
    pub fn is_pie(&self) -> bool {
        self.elf.pie
    }

    /// Whether it lacks a symbol table.
    #[must_use]
    pub fn is_stripped(&self) -> bool {
        self.elf.stripped
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        u64::try_from(self.data.len()).unwrap_or(u64::MAX)
    }

    /// Where the loaded image lies before relocation.
    #[must_use]
    pub fn address_range(&self) -> LoadRange {
        self.elf.range
    }

    /// The functions of this symbol name: none where the linker found no use for it, several
    /// where names collide. Method wrappers made by the compiler are left out.
    #[must_use]
    pub fn functions(&self, name: &str) -> &[Function] {
        self.table()
            .map(|table| self.index(&table).named(&table, name))
            .unwrap_or_default()
    }

    /// Whether copies of the function may be part of others, so that its own code does not see every call; also where
    /// that cannot be told. Says nothing of what the compiler inlines always.
    #[must_use]
    pub fn is_inlined(&self, function: &Function) -> bool {
        let copies = || {
            let table = self.table()?;
            let funcdata = self.elf.bytes_from(&self.data, self.module.gofunc)?;
            let shape = InlineShape::of(self.header.has_start_lines());
            let records = (0..self.header.function_count).filter_map(|index| table.record(index));
            Some(frames::inlined_into(&table, records, funcdata, shape))
        };
        self.build.may_inline_hot()
            && self
                .inlined
                .get_or_init(copies)
                .as_ref()
                .is_none_or(|names| names.contains(&function.name_offset()))
    }

    /// The function itself and everything nested in it: `p.f`, `p.f.func1`, `p.f.gowrap2`.
    pub fn functions_under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Function)> {
        self.table()
            .map(|table| self.index(&table).under(table, prefix))
            .into_iter()
            .flatten()
    }

    /// Number of functions that have a name of their own.
    #[must_use]
    pub fn function_count(&self) -> usize {
        self.table().map_or(0, |table| self.index(&table).len())
    }

    /// The function that holds a virtual address.
    #[must_use]
    pub fn function_at(&self, vaddr: u64) -> Option<FunctionRef<'_>> {
        let table = self.table()?;
        let record = table.record_at(self.text_offset(vaddr)?)?;
        Some(FunctionRef {
            name: table.name(record.name_offset())?,
            entry: self.module.text.checked_add(u64::from(record.entry))?,
            end: self.module.text.checked_add(u64::from(record.end))?,
        })
    }

    /// `len` bytes of the image's initial contents at a virtual address.
    #[must_use]
    pub fn bytes(&self, vaddr: u64, len: usize) -> Option<&[u8]> {
        self.elf.bytes_from(&self.data, vaddr)?.get(..len)
    }

    /// `len` bytes at a virtual address that stay as they are in the file.
    #[must_use]
    pub fn constant(&self, vaddr: u64, len: usize) -> Option<&[u8]> {
        self.elf.constants_from(&self.data, vaddr)?.get(..len)
    }

    /// A pointer-sized word of the image's initial contents, before the load bias is added;
    /// relocations of a position-independent executable are applied.
    #[must_use]
    pub fn word(&self, vaddr: u64) -> Option<u64> {
        self.elf.word(&self.data, vaddr)
    }

    /// File offset of an address of code, as uprobes want it.
    #[must_use]
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        self.elf.code_offset_of(vaddr)
    }

    /// The logical frames of a caller, innermost first, inlined calls expanded. Empty for an
    /// address that is not Go code.
    #[must_use]
    pub fn frames(&self, return_address: u64) -> Vec<Frame> {
        // The call itself is what the frame is at; the return address may be another line.
        return_address
            .checked_sub(1)
            .map(|pc| self.frames_at(pc))
            .unwrap_or_default()
    }

    /// The logical frames at exactly this address: the top of a stack, or a function's entry.
    #[must_use]
    pub fn frames_at(&self, pc: u64) -> Vec<Frame> {
        let frames = self.frames_as_named(pc).into_iter();
        frames.map(|frame| self.at_home(frame)).collect()
    }

    fn frames_as_named(&self, pc: u64) -> Vec<Frame> {
        self.inlined_at(pc, frames::expand).unwrap_or_default()
    }

    /// The function around the call that returns to `return_address`, at the line of its entry,
    /// which declares it. A method that was inlined into its wrapper is that method; `None` where no
    /// table tells its line (before Go 1.20).
    #[must_use]
    pub fn declaration(&self, return_address: u64) -> Option<Frame> {
        let pc = return_address.checked_sub(1)?;
        let function = self.function_at(pc)?;
        let declared = self.frames_at(function.entry).pop()?;
        if declared.is_generated() {
            return self.inlined_at(pc, frames::outermost_inlined)?;
        }
        Some(declared)
    }

    /// What `read` makes of the inline tree around `pc`.
    fn inlined_at<T>(
        &self,
        pc: u64,
        read: impl FnOnce(&Table<'_>, &Record, u32, &[u8], &InlineShape) -> T,
    ) -> Option<T> {
        let table = self.table()?;
        let offset = self.text_offset(pc)?;
        let record = table.record_at(offset)?;
        let funcdata = self
            .elf
            .bytes_from(&self.data, self.module.gofunc)
            .unwrap_or_default();
        let pc = offset.checked_sub(record.entry)?;
        let shape = InlineShape::of(self.header.has_start_lines());
        Some(read(&table, &record, pc, funcdata, shape))
    }

    /// The calls of the function around `pc`: where each returns to, and the callee's first
    /// instruction where it is called directly.
    #[must_use]
    pub fn calls_around(&self, pc: u64) -> Vec<(u64, Option<u64>)> {
        let calls = || {
            let function = self.function_at(pc)?;
            let code = self.code(function.entry, function.end)?;
            Some(self.elf.isa.calls(code, function.entry))
        };
        calls().unwrap_or_default()
    }

    /// First instruction of the function that the call names which returns to an address; `None` where it goes through a
    /// pointer, and where no call returns to.
    #[must_use]
    pub fn callee_before(&self, return_address: u64) -> Option<u64> {
        self.callees.get(return_address, || {
            let calls = self.calls_around(return_address.checked_sub(1)?);
            calls
                .iter()
                .find_map(|(back, callee)| callee.filter(|_| *back == return_address))
        })
    }

    /// How to leave the frame at `pc` (the exact address, also for callers). `None` outside of
    /// Go code.
    #[must_use]
    pub fn stack_step(&self, pc: u64) -> Option<StackStep> {
        let table = self.table()?;
        let offset = self.text_offset(pc)?;
        let record = table.record_at(offset)?;
        Some(StackStep {
            sp_delta: table.frame_size(&record, offset.checked_sub(record.entry)?)?,
            top: record.is_top(),
            writes_sp: record.writes_sp() && !self.is_cgocallback(pc),
        })
    }

    /// Whether `pc` is where C calls into Go. That switches stacks, too, and leaves a frame on both that is as its table
    /// says (runtime/traceback.go unwinds through it).
    fn is_cgocallback(&self, pc: u64) -> bool {
        self.function_at(pc)
            .is_some_and(|function| function.name == "runtime.cgocallback")
    }

    /// Whether the function around the call that returns to `return_address` was made by the compiler to call
    /// another one: what `go f(x)` starts, and methods by way of an interface. Go's own dumps leave it out.
    #[must_use]
    pub fn is_wrapper(&self, return_address: u64) -> bool {
        let func_id = || {
            let offset = self.text_offset(return_address.checked_sub(1)?)?;
            Some(self.table()?.record_at(offset)?.func_id())
        };
        func_id().is_some_and(|id| Some(id) == wrapper_id(self.build.version.minor))
    }

    /// The name of the type whose descriptor (`abi.Type`) is at this virtual address.
    #[must_use]
    pub fn type_of(&self, type_vaddr: u64) -> Option<TypeName> {
        Types {
            elf: &self.elf,
            data: &self.data,
            module: &self.module,
        }
        .name(type_vaddr)
    }

    /// The concrete type of an itab in the file. `None` for one made at run time, which lies
    /// outside the image: its word at +8 is then in the process's memory.
    #[must_use]
    pub fn itab_type_vaddr(&self, itab_vaddr: u64) -> Option<u64> {
        self.word(itab_vaddr.checked_add(types::ITAB_TYPE)?)
            .filter(|&vaddr| vaddr != 0)
    }

    fn table(&self) -> Option<Table<'_>> {
        self.header.table(&self.data)
    }

    fn index(&self, table: &Table<'_>) -> &Index {
        self.index
            .get_or_init(|| Index::build(table, self.header.function_count, self.module.text))
    }

    fn text_offset(&self, vaddr: u64) -> Option<u32> {
        u32::try_from(vaddr.checked_sub(self.module.text)?).ok()
    }
}

/// `internal/abi.FuncIDWrapper` of Go 1.`minor` (runtime/symtab.go up to 1.20), as each release from 1.18 on has it.
const fn wrapper_id(minor: u32) -> Option<u8> {
    match minor {
        18..=21 => Some(21),
        22..=24 => Some(22),
        25..=27 => Some(23),
        _ => None,
    }
}

impl CodeSource for Image {
    fn code(&self, vaddr: u64, len: usize) -> Option<&[u8]> {
        self.file_offset(vaddr)?;
        self.bytes(vaddr, len)
    }

    fn code_offset(&self, vaddr: u64) -> Option<u64> {
        self.file_offset(vaddr)
    }

    #[expect(
        private_interfaces,
        reason = "machines are not for callers to implement"
    )]
    fn isa(&self) -> &'static dyn Isa {
        self.elf.isa
    }
}
