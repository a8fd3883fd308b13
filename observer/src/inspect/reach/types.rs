//! Which words of large objects hold pointers, as their types say. From Go 1.22 on each object of more than 512 bytes names
//! its type, by which the collector goes, too: what else lies in it is none of a program's references, whatever it looks like.
//! The structs of Go's scheduler have much of that: what the last collections were at.

use rustc_hash::FxHashMap;

use crate::go::layout::Layout;
use crate::target::Memory;
use crate::target::fields::{u8_at, u64_at};

use super::heap::{Heap, Named, Stretch};

const WORD: u64 = 8;
/// Bytes of a mask that are read; types with a longer one are looked through as a whole.
const MAX_MASK: u64 = 64 << 10;
/// Types remembered.
const MAX_TYPES: usize = 1 << 14;
/// Its mask is a program (`abi.KindGCProg`, up to Go 1.23).
const KIND_PROGRAM: u8 = 1 << 6;
/// Its mask is made when it is first asked for, and where that is stands in memory (`abi.TFlagGCMaskOnDemand`, from Go 1.24 on).
/// Before, types with this bit are only made at run time, for single large objects.
const FLAG_ON_DEMAND: u8 = 1 << 4;

/// Where fields of `abi.Type` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeOffsets {
    size: u32,
    pointers: u32,
    flags: u32,
    kind: u32,
    mask: u32,
}

impl TypeOffsets {
    /// As the layout has them; `None` where it lacks one.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        let of = |name| layout.field("internal/abi.Type", name);
        Some(Self {
            size: of("Size_")?,
            pointers: of("PtrBytes")?,
            flags: of("TFlag")?,
            kind: of("Kind_")?,
            mask: of("GCData")?,
        })
    }

    fn len(&self) -> usize {
        let fields = [self.size, self.pointers, self.flags, self.kind, self.mask];
        let last = fields.into_iter().max().unwrap_or(0);
        usize::try_from(last).unwrap_or(0).saturating_add(8)
    }
}

/// Where a type has its pointers.
struct Mask {
    /// Bytes of one value; an array's object has several, one after the other.
    size: u64,
    /// A bit for each word, the first of each byte lowest; those beyond hold none.
    bits: Vec<u8>,
}

/// The types of large objects, each read once.
pub(super) struct Types {
    /// `None` where no object names its type.
    offsets: Option<TypeOffsets>,
    /// `None` for one that says nothing, so that all of its objects' words may be pointers.
    masks: FxHashMap<u64, Option<Mask>>,
    /// Where the last word was, and its type; 0 for none.
    last: Option<(Stretch, u64)>,
}

impl Types {
    pub(super) fn new(offsets: Option<TypeOffsets>) -> Self {
        Self {
            offsets,
            masks: FxHashMap::default(),
            last: None,
        }
    }

    /// Whether the word at `place` may be a pointer, as far as the object around it says.
    pub(super) fn may_point(&mut self, memory: &impl Memory, heap: &Heap, place: u64) -> bool {
        let Some(offsets) = self.offsets else {
            return true;
        };
        let (stretch, named) = match self.last {
            Some((stretch, named)) if stretch.contains(place) => (stretch, named),
            _ => {
                let Some(stretch) = heap.stretch(place) else {
                    return true;
                };
                let named = match stretch.named {
                    Named::Nowhere => 0,
                    Named::InFront => memory.read_u64(stretch.at).unwrap_or(0),
                    Named::BySpan(named) => named,
                };
                self.last = Some((stretch, named));
                (stretch, named)
            }
        };
        if named == 0 {
            return true;
        }
        if self.masks.len() >= MAX_TYPES {
            self.masks.clear();
        }
        let (first, len) = stretch.value();
        let mask = self.masks.entry(named);
        let mask = mask.or_insert_with(|| Mask::read(memory, &offsets, stretch.named, named));
        let Some(mask) = mask.as_ref().filter(|mask| mask.size <= len) else {
            return true;
        };
        let offset = place.checked_sub(first);
        offset.is_some_and(|offset| mask.has(offset % mask.size))
    }
}

impl Stretch {
    fn contains(&self, addr: u64) -> bool {
        addr.checked_sub(self.at).is_some_and(|at| at < self.len)
    }

    /// Where the value of an object begins, and how long it may be, bytes.
    fn value(&self) -> (u64, u64) {
        let header = match self.named {
            Named::InFront => WORD,
            Named::Nowhere | Named::BySpan(_) => 0,
        };
        (self.at + header, self.len.saturating_sub(header))
    }
}

impl Mask {
    /// The mask of the type at `addr`, if there can be one, and it is there already.
    fn read(memory: &impl Memory, offsets: &TypeOffsets, named: Named, addr: u64) -> Option<Self> {
        let block = memory.read_bytes(addr, offsets.len()).ok()?;
        let size = u64_at(&block, offsets.size)?;
        let pointers = u64_at(&block, offsets.pointers)?;
        let is_sound = pointers != 0 && pointers <= size && pointers.is_multiple_of(WORD);
        let is_program = u8_at(&block, offsets.kind)? & KIND_PROGRAM != 0;
        let bytes = (pointers / WORD).div_ceil(8);
        if !is_sound || is_program || bytes > MAX_MASK {
            return None;
        }
        let on_demand = u8_at(&block, offsets.flags)? & FLAG_ON_DEMAND != 0;
        let mask = u64_at(&block, offsets.mask)?;
        let at = match (on_demand, named) {
            (false, _) => mask,
            (true, Named::InFront) => memory.read_u64(mask).ok().filter(|&made| made != 0)?,
            (true, _) => return None,
        };
        let mut bits = memory.read_bytes(at, usize::try_from(bytes).ok()?).ok()?;
        if let Some(last) = bits.last_mut() {
            let used = (pointers / WORD) % 8;
            if used != 0 {
                *last &= (1 << used) - 1;
            }
        }
        Some(Self { size, bits })
    }

    fn has(&self, offset: u64) -> bool {
        let word = offset / WORD;
        let byte = usize::try_from(word / 8)
            .ok()
            .and_then(|at| self.bits.get(at));
        byte.is_some_and(|byte| byte & (1 << (word % 8)) != 0)
    }
}
