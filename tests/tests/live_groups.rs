//! Groups of hooks come and go while the process runs, and leave its code as it was.

use std::{
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer::{
    go::{Image, Layout},
    probe::{Groups, Kernel, Place, Plan, PlannedSite, Rate, Ring, Scope, SiteChoice, block, plan},
    target::{CodeCheck, Process},
};
use observer_common::hook::HookId;
use observer_tests::{
    go::is_full,
    live::{Load, Program, start, undisturbed},
    target::Flavor,
};

/// What attaching to a program takes.
struct Ground {
    process: Process,
    image: Image,
    plan: Plan,
    kernel: Kernel,
    ring: Ring,
}

fn ground(program: &Program) -> Result<Ground> {
    let process = Process::open(i32::try_from(program.pid())?)?;
    let image = Image::open(&process.exe)?;
    let layout = Layout::for_version(image.go_version())?;
    let plan = plan(&image, &layout, SiteChoice::Cheap);
    let (mut kernel, ring) = Kernel::load()?;
    let wishes = block::Wishes {
        id_headers: vec!["X-Request-Id".to_owned()],
        deadline_headers: Vec::new(),
        read_ids: true,
        follow_goroutines: true,
    };
    kernel.set_layout(
        0,
        &block::build(&image, &layout, process.mapping.bias, &wishes),
    )?;
    Ok(Ground {
        process,
        image,
        plan,
        kernel,
        ring,
    })
}

/// Sites come and go so often; a soak where all versions are tested.
fn cycles() -> usize {
    if is_full() { 1000 } else { 30 }
}

#[test]
fn one_site_comes_and_goes_under_load() -> Result<()> {
    undisturbed(|| {
        let mut program = start("bench", "1.27.3", Flavor::Stripped, &["-mode", "json"])?;
        let limit = Duration::from_secs(900);
        let load = Load::of(&program, "/").during(limit, 8).start()?;
        let Ground {
            process,
            image,
            mut plan,
            mut kernel,
            mut ring,
        } = ground(&program)?;
        plan.hooks.retain(|hook| hook.hook == HookId::ContextCancel);
        ensure!(plan.sites().count() == 1, "one site is planned");
        let exe = format!("/proc/{}/exe", program.pid());
        let place = Place {
            exe: exe.as_ref(),
            slot: 0,
            scope: Scope::One(NonZeroU32::new(program.pid()).context("a pid is not 0")?),
        };
        let of = |site: &PlannedSite| block::program(site.hook, &image);
        let began = Instant::now();
        let mut events = 0;
        for cycle in 0..cycles() {
            let mut groups = Groups::default();
            groups.attach(&mut kernel, &plan, &Rate::ALL, place, of)?;
            probed(&process, &plan, &Rate::ALL).with_context(|| format!("cycle {cycle}"))?;
            // From at once to some hundred requests later.
            thread::sleep(Duration::from_millis(cycle as u64 % 20));
            events += ring.drain(usize::MAX, |_| ());
            groups.detach_all();
            probed(&process, &plan, &[]).with_context(|| format!("cycle {cycle}"))?;
            ensure!(
                program.process().is_running()?,
                "cycle {cycle}: it has ended"
            );
        }
        let took = began.elapsed();
        let report = load.interrupt()?;
        println!(
            "{} cycles in {took:?}, {events} events, {report:?}",
            cycles()
        );
        ensure!(events > 0, "the site was never hit");
        ensure!(
            report.ok > 0 && report.bad == 0 && report.failed == 0 && program.said().is_empty(),
            "{report:?}: {:?}",
            program.said()
        );
        Ok(())
    })
}

#[test]
fn groups_attach_and_detach_at_run_time() -> Result<()> {
    undisturbed(|| {
        let program = start("rules4", "1.27.3", Flavor::Stripped, &[])?;
        let Ground {
            process,
            image,
            plan,
            mut kernel,
            ring: _ring,
        } = ground(&program)?;
        let exe = format!("/proc/{}/exe", program.pid());
        let place = Place {
            exe: exe.as_ref(),
            slot: 0,
            scope: Scope::One(NonZeroU32::new(program.pid()).context("a pid is not 0")?),
        };
        let of = |site: &PlannedSite| block::program(site.hook, &image);
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
        probed(&process, &plan, &Rate::ALL)?;
        // Those of goroutines are what costs most: they are shed first.
        ensure!(groups.detach(Rate::Hot) == 2, "two hooks of goroutines");
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
    })
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
