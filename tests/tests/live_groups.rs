//! Groups of hooks come and go while the process runs, and leave its code as it was.

use std::num::NonZeroU32;

use anyhow::{Context, Result, ensure};
use observer::{
    go::{Image, Layout},
    probe::{Groups, Kernel, Place, Plan, Rate, Scope, SiteChoice, block, plan},
    target::{CodeCheck, Process},
};
use observer_tests::{
    live::{Load, start},
    target::Flavor,
};

#[test]
fn groups_attach_and_detach_at_run_time() -> Result<()> {
    let program = start("rules4", "1.27.3", Flavor::Stripped, &[])?;
    let process = Process::open(i32::try_from(program.pid())?)?;
    let image = Image::open(&process.exe)?;
    let layout = Layout::for_version(image.go_version())?;
    let plan = plan(&image, &layout, SiteChoice::Cheap);
    let (mut kernel, _ring) = Kernel::load()?;
    let wishes = block::Wishes {
        id_headers: vec!["X-Request-Id".to_owned()],
        read_ids: true,
    };
    kernel.set_layout(
        0,
        &block::build(&image, &layout, process.mapping.bias, &wishes),
    )?;
    let exe = format!("/proc/{}/exe", program.pid());
    let place = Place {
        exe: exe.as_ref(),
        slot: 0,
        scope: Scope::One(NonZeroU32::new(program.pid()).context("a pid is not 0")?),
    };
    let of = |site: &observer::probe::PlannedSite| block::program(site.hook, &image);
    let mut groups = Groups::default();

    groups.attach(&mut kernel, &plan, &[Rate::Rare], place, of)?;
    probed(&process, &plan, &[Rate::Rare])?;
    groups.attach(
        &mut kernel,
        &plan,
        &[Rate::PerRequest, Rate::PerOperation],
        place,
        of,
    )?;
    probed(
        &process,
        &plan,
        &[Rate::Rare, Rate::PerRequest, Rate::PerOperation],
    )?;
    Load::to(&program.url("/notcalled/cancel/ok"))
        .times(200, 4)
        .start()?
        .all("ok")?;
    ensure!(
        groups.detach(Rate::PerOperation) > 0,
        "nothing was detached"
    );
    probed(&process, &plan, &[Rate::Rare, Rate::PerRequest])?;
    groups.attach(&mut kernel, &plan, &Rate::ALL, place, of)?;
    probed(
        &process,
        &plan,
        &[Rate::Rare, Rate::PerRequest, Rate::PerOperation],
    )?;
    groups.detach_all();
    probed(&process, &plan, &[])?;
    Load::to(&program.url("/notcalled/cancel/ok"))
        .times(200, 4)
        .start()?
        .all("ok")?;
    Ok(())
}

/// The code of these groups' sites begins with a breakpoint, that of all others is as the file has it.
fn probed(process: &Process, plan: &Plan, groups: &[Rate]) -> Result<()> {
    for site in plan.sites() {
        let wanted = if groups.contains(&site.rate()) {
            CodeCheck::Probed
        } else {
            CodeCheck::Same
        };
        let found = process.check_code(site.site.vaddr, &site.site.bytes)?;
        ensure!(
            found == wanted,
            "{}: {found:?} instead of {wanted:?}",
            site.symbol
        );
    }
    Ok(())
}
