//! A heap that is too large to be searched.

use observer_tests::live::on_each_version;

use super::*;

/// More than is searched, MiB.
const BALLAST: &str = "80";

/// What would be an error is told by age, and why is said once.
#[test]
fn where_nobody_searches_that_is_said_and_age_tells() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &["-ballast", BALLAST])?;
        let observer = observe(&program)?;
        for path in ["/sender", "/receiver"] {
            ask(&program, path, REQUESTS)?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let by_age = |case: &str, reason| -> Result<Expect> {
            let expect = Expect::new("warning", PROGRAM, &format!("goroutine-leak {case}"))?;
            let expect = expect.request(&format!("/{case}"), &format!("{case}-0"));
            let expect = expect.fact("/evidence/wait_reason", reason);
            Ok(expect.says(FOR_EVER).times(REQUESTS))
        };
        let expected = [
            by_age("sender", "chan send")?,
            by_age("receiver", "chan receive")?,
        ];
        exactly(&run, program.pid(), &expected)?;
        let wanted = format!("not searched for in pid {}", program.pid());
        let said = run.stderr.iter().filter(|line| line.contains(&wanted));
        let said: Vec<_> = said.collect();
        ensure!(
            said.len() == 1 && run.stderr.join(" ").contains("64 MiB"),
            "{:?}",
            run.stderr
        );
        Ok(())
    })
}
