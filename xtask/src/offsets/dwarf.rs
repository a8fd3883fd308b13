//! Reads struct layouts from a Go program's DWARF.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use anyhow::{Context, Result};
use gimli::{AttributeValue, DwAt, DwTag, EndianSlice, LittleEndian};
use object::{Object, ObjectSection};

/// Go's attribute for "this field is embedded": `DW_AT_go_embedded_field` in cmd/internal/dwarf.
const EMBEDDED: DwAt = DwAt(0x2903);

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = gimli::DebuggingInformationEntry<Bytes<'a>>;

/// The layout of a struct.
pub struct Struct {
    /// In bytes.
    pub size: u64,
    /// By name, those of nested structs as `outer.inner`.
    fields: BTreeMap<String, Place>,
}

/// Where a field is.
#[derive(Clone, Copy)]
pub struct Place {
    /// In bytes from the start of the outermost struct.
    pub offset: u64,
    /// The field is an embedded `*T`, not a `T`.
    pub embedded_pointer: bool,
}

impl Struct {
    /// Finds `field` or `field.nested`.
    pub fn field(&self, path: &str) -> Option<Place> {
        self.fields.get(path).copied()
    }
}

/// A type as DWARF has it. Go refers to types by their offset in the whole section.
struct Type {
    tag: DwTag,
    name: String,
    size: u64,
    /// What a typedef is another name for.
    base: Option<usize>,
    members: Vec<Member>,
}

struct Member {
    name: String,
    offset: u64,
    type_at: Option<usize>,
    embedded: bool,
}

type Types = HashMap<usize, Type>;

/// The layouts of the named struct types, as far as the program has them.
///
/// # Errors
/// When the program is not an ELF file or its DWARF is damaged.
pub fn structs(program: &[u8], names: &BTreeSet<&str>) -> Result<BTreeMap<String, Struct>> {
    let types = types(program)?;
    let wanted = types
        .values()
        .filter(|kind| kind.tag == gimli::DW_TAG_structure_type);
    let wanted = wanted.filter(|kind| names.contains(kind.name.as_str()));
    Ok(wanted
        .map(|kind| (kind.name.clone(), layout(&types, kind)))
        .collect())
}

fn layout(types: &Types, kind: &Type) -> Struct {
    let mut fields = BTreeMap::new();
    for member in &kind.members {
        let of = resolve(types, member.type_at);
        let is = |tag| of.is_some_and(|of| of.tag == tag);
        let embedded_pointer = member.embedded && is(gimli::DW_TAG_pointer_type);
        fields.insert(
            member.name.clone(),
            Place {
                offset: member.offset,
                embedded_pointer,
            },
        );
        let nested = of.filter(|of| of.tag == gimli::DW_TAG_structure_type);
        for inner in nested.into_iter().flat_map(|of| &of.members) {
            let place = Place {
                offset: member.offset + inner.offset,
                embedded_pointer: false,
            };
            fields.insert(format!("{}.{}", member.name, inner.name), place);
        }
    }
    Struct {
        size: kind.size,
        fields,
    }
}

/// The kinds of types that a layout is made of.
fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_structure_type | gimli::DW_TAG_pointer_type | gimli::DW_TAG_typedef
    )
}

/// The type at this offset, behind the typedef that Go puts before every named type.
fn resolve(types: &Types, at: Option<usize>) -> Option<&Type> {
    let found = types.get(&at?)?;
    if found.tag == gimli::DW_TAG_typedef {
        types.get(&found.base?)
    } else {
        Some(found)
    }
}

/// Every type of the program: Go has them all directly below the units.
fn types(program: &[u8]) -> Result<Types> {
    let file = object::File::parse(program).context("not an object file")?;
    let sections = gimli::DwarfSections::load(|id| -> Result<Cow<'_, [u8]>> {
        let section = file.section_by_name(id.name());
        Ok(section
            .map(|section| section.uncompressed_data())
            .transpose()?
            .unwrap_or_default())
    })?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));

    let mut types = Types::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        let global = |offset: gimli::UnitOffset| Some(offset.to_debug_info_offset(&unit.header)?.0);
        let name = |entry: &Entry<'_>| -> Result<String> {
            let Some(value) = entry.attr_value(gimli::DW_AT_name) else {
                return Ok(String::new());
            };
            Ok(dwarf
                .attr_string(&unit, value)?
                .to_string_lossy()
                .into_owned())
        };
        let number = |entry: &Entry<'_>, attribute| {
            entry.attr(attribute).and_then(|value| value.udata_value())
        };

        let type_of = |entry: &Entry<'_>| match entry.attr_value(gimli::DW_AT_type)? {
            AttributeValue::DebugInfoRef(offset) => Some(offset.0),
            AttributeValue::UnitRef(offset) => global(offset),
            _ => None,
        };

        let mut current = None;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            match (entry.tag(), current) {
                (tag, _) if is_type(tag) => {
                    current = global(entry.offset());
                    let kind = Type {
                        tag,
                        name: name(entry)?,
                        size: number(entry, gimli::DW_AT_byte_size).unwrap_or(0),
                        base: type_of(entry),
                        members: Vec::new(),
                    };
                    types.extend(current.map(|at| (at, kind)));
                }
                (gimli::DW_TAG_member, Some(parent)) => {
                    let offset = number(entry, gimli::DW_AT_data_member_location);
                    let embedded = entry.attr_value(EMBEDDED);
                    let member = Member {
                        name: name(entry)?,
                        offset: offset.context("a member without an offset")?,
                        type_at: type_of(entry),
                        embedded: matches!(embedded, Some(AttributeValue::Flag(true))),
                    };
                    types
                        .entry(parent)
                        .and_modify(|parent| parent.members.push(member));
                }
                _ => current = None,
            }
        }
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(tag: DwTag, base: Option<usize>, members: Vec<Member>) -> Type {
        Type {
            tag,
            name: String::new(),
            size: 24,
            base,
            members,
        }
    }

    fn member(name: &str, offset: u64, type_at: usize, embedded: bool) -> Member {
        Member {
            name: name.to_owned(),
            offset,
            type_at: Some(type_at),
            embedded,
        }
    }

    #[test]
    fn nested_fields_are_found_behind_typedefs_and_pointers_only_when_embedded() {
        let inner = vec![member("lo", 0, 9, false), member("hi", 8, 9, false)];
        let outer = vec![
            member("stack", 8, 2, false),
            member("Base", 0, 3, true),
            member("next", 16, 3, false),
        ];
        let types = Types::from([
            (1, kind(gimli::DW_TAG_structure_type, None, inner)),
            (2, kind(gimli::DW_TAG_typedef, Some(1), Vec::new())),
            (3, kind(gimli::DW_TAG_pointer_type, None, Vec::new())),
            (4, kind(gimli::DW_TAG_structure_type, None, outer)),
        ]);
        let layout = layout(&types, &types[&4]);
        let place = |path| {
            layout
                .field(path)
                .map(|place| (place.offset, place.embedded_pointer))
        };
        assert_eq!(place("stack.hi"), Some((16, false)));
        assert_eq!(place("Base"), Some((0, true)));
        assert_eq!(place("next"), Some((16, false)));
        assert_eq!(place("next.lo"), None);
        assert_eq!(layout.size, 24);
    }
}
