//! `cargo xtask coverage`: which lines and branches of the scripts the suite reaches.

mod lexer;
mod parser;
mod report;

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    cli::CoverageArgs,
    command::Trouble,
    console::{Console, Stopwatch, spoken},
    scripts::Scripts,
    suite::{Suite, Verdict},
    workspace::Workspace,
};
use parser::Probe;
use report::File;

/// A file's probes are numbered from `first`.
struct Furnished {
    name: String,
    first: usize,
    probes: Vec<Probe>,
}

/// Runs the suite on scripts with probes in them, and tells what it reached.
pub(crate) fn run(workspace: &Workspace, console: &Console, args: &CoverageArgs) -> Result<(), Trouble> {
    let (scripts, furnished) = furnish(&Scripts::read(workspace)?)?;
    let suite = Suite::build(workspace, console, args.histories)?.without_more_histories();
    let scratch = workspace.scratch("coverage")?;
    let (folder, reached) = (scratch.join("lua"), scratch.join("reached"));
    scripts.write(&folder)?;
    fs::write(&reached, "").map_err(|error| trouble(&reached, &error))?;
    let watch = Stopwatch::start();
    console.note("the suite, on scripts with probes:");
    if let Verdict::Failed(by) = suite.run(&folder, &[("BURSAR_LUA_PROBES", &reached)])? {
        return Err(Trouble::Failed(format!("the suite fails on scripts with probes: {by}")));
    }
    console.note(&format!("it passes, after {}", spoken(watch.read())));
    let reached = read(&reached)?;
    let files: Vec<_> =
        furnished.iter().map(|file| File::of(&file.name, &file.probes, file.first, &reached)).collect();
    report::show(console, &files, args.missing);
    if args.json {
        console.result(&report::json(&files));
    }
    Ok(())
}

/// The scripts with probes, numbered through all files.
fn furnish(scripts: &Scripts) -> Result<(Scripts, Vec<Furnished>), Trouble> {
    let (mut all, mut furnished, mut first) = (scripts.clone(), Vec::new(), 1);
    for (name, source) in scripts.each() {
        let (text, probes) = parser::furnish(source, first)
            .map_err(|why| Trouble::Failed(format!("{name}.lua cannot be furnished with probes: {why}")))?;
        all = all.with(name, text);
        let next = first + probes.len();
        furnished.push(Furnished { name: name.to_owned(), first, probes });
        first = next;
    }
    Ok((all, furnished))
}

/// The numbers of the probes that were reached: a line each, by several processes one after the other.
fn read(path: &Path) -> Result<BTreeSet<usize>, Trouble> {
    let text = fs::read_to_string(path).map_err(|error| trouble(path, &error))?;
    let numbers: BTreeSet<_> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if numbers.is_empty() {
        return Err(Trouble::Failed("the suite reached no probe: was it built without them?".to_owned()));
    }
    Ok(numbers)
}

fn trouble(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_can_be_furnished_with_probes() {
        let scripts = Scripts::read(&Workspace::here()).unwrap();
        let (with_probes, furnished) = furnish(&scripts).unwrap();
        assert!(furnished.iter().map(|file| file.probes.len()).sum::<usize>() > 1000);
        for (name, source) in scripts.each() {
            let text = with_probes.text(name).unwrap();
            assert_eq!(text.lines().count(), source.lines().count(), "lines of {name} stay where they are");
        }
    }
}
