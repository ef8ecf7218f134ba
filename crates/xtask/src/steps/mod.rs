//! `cargo xtask test`: the steps, in their order.

mod buf;
mod cargo;
mod compose;
mod containers;
mod deny;
mod deploy;
mod differential;
mod fuzz;
mod test;

use std::{cell::OnceCell, process::ExitCode};

use clap::ValueEnum;

use crate::{
    cli::TestArgs,
    command::Trouble,
    console::{Console, Stopwatch, spoken},
    docker,
    image::Images,
    json,
    report::{Entry, Report, Verdict},
    server::{self, Server},
    workspace::{Workspace, in_ci},
};

/// A step. The order is that of running: what answers soonest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// The sources are formatted.
    Fmt,
    /// Clippy and the workspace's lints find nothing.
    Clippy,
    /// Dependencies: licences, sources, forbidden crates, who may import whom.
    Deny,
    /// The wire contract: style, and no change that breaks who uses it.
    Buf,
    /// Unit, integration and documentation tests.
    Test,
    /// The embedded engine answers as every server does that can be had.
    Differential,
    /// Dialects, requests, configurations and ids hold under inputs at random.
    Fuzz,
    /// The documentation can be built without a warning.
    Doc,
    /// deploy/: image recipes, the compose file, the manifests, the unit, the configurations.
    Deploy,
    /// Two replicas and Redis as containers of a Docker engine.
    Containers,
    /// The compose file, brought up and taken down again.
    Compose,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Deny => "deny",
            Self::Buf => "buf",
            Self::Deploy => "deploy",
            Self::Fuzz => "fuzz",
            Self::Test => "test",
            Self::Differential => "differential",
            Self::Doc => "doc",
            Self::Containers => "containers",
            Self::Compose => "compose",
        }
    }

    fn run(self, context: &mut Context<'_>) -> Done {
        match self {
            Self::Fmt => cargo::fmt(context),
            Self::Clippy => cargo::clippy(context),
            Self::Deny => deny::run(context),
            Self::Buf => buf::run(context),
            Self::Deploy => deploy::run(context),
            Self::Test => test::run(context),
            Self::Differential => differential::run(context),
            Self::Fuzz => fuzz::run(context),
            Self::Doc => cargo::doc(context),
            Self::Containers => containers::run(context),
            Self::Compose => compose::run(context),
        }
    }
}

/// What a step found, in a few words; or why not.
type Done = Result<String, Trouble>;

/// What steps share.
struct Context<'a> {
    workspace: Workspace,
    console: Console,
    args: &'a TestArgs,
    server: OnceCell<Result<Server, Trouble>>,
    containers: OnceCell<bool>,
    images: OnceCell<Result<Images, Trouble>>,
    /// What came of the steps before this one.
    report: Report,
}

impl Context<'_> {
    /// The server that tests start; looked for once.
    fn server(&self) -> Result<Server, Trouble> {
        let find = || {
            let found = server::find(&self.workspace, &self.console, None);
            if let Ok(server) = &found {
                self.console.note(&format!("Redis or Valkey: {}", server.described));
            }
            found
        };
        self.server.get_or_init(find).clone()
    }

    /// Whether the containers step has what it needs.
    fn with_containers(&self) -> bool {
        *self
            .containers
            .get_or_init(|| self.args.wants(Step::Containers) && docker::engine(&self.console).is_ok())
    }

    /// What Cargo is told on top of its command. One run has one set of features, or most would be built twice: what
    /// talks to the engine asks more of crates that everything else uses as well.
    fn features(&self) -> &'static [&'static str] {
        if self.with_containers() { &["--features", "bursar-tests/containers"] } else { &[] }
    }

    /// The images that containers are made of; built once.
    fn images(&self) -> Result<Images, Trouble> {
        let server = self.server()?;
        let build = || Images::build(&self.workspace, &self.console, &server.program, self.features());
        self.images.get_or_init(build).clone()
    }
}

/// Runs what was asked for.
pub(crate) fn run_all(workspace: Workspace, console: Console, args: &TestArgs) -> ExitCode {
    if in_ci() && (args.allow_missing || !args.only.is_empty() || !args.skip.is_empty()) {
        console.note("error: CI is set, where nothing may be left out: no --only, --skip or --allow-missing");
        return ExitCode::from(2);
    }
    let watch = Stopwatch::start();
    let mut context = Context {
        workspace,
        console,
        args,
        server: OnceCell::new(),
        containers: OnceCell::new(),
        images: OnceCell::new(),
        report: Report::default(),
    };
    for step in Step::value_variants() {
        let entry = run_one(*step, &mut context);
        context.report.entries.push(entry);
    }
    if let Some(Ok(images)) = context.images.get() {
        images.remove(&console);
    }
    let mut report = context.report;
    report.server = context.server.get().and_then(|found| Some(found.as_ref().ok()?.described.clone()));
    let good = report.good(args.allow_missing);
    report.show(&console, watch.read());
    if args.json {
        console.result(&json::of(&report, good, watch.read()));
    }
    let closing = match (good, report.has(&Verdict::NotRun)) {
        (true, false) => "all is well",
        (true, true) => "all that could run is well",
        (false, _) => "not all is well",
    };
    console.note(&format!("\n{closing}"));
    console.note(&report.tests.closing_line());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(step: Step, context: &mut Context<'_>) -> Entry {
    let (verdict, watch, note) = if !context.args.wants(step) {
        (Verdict::LeftOut, Stopwatch::start(), String::new())
    } else {
        context.console.heading(step.name());
        let watch = Stopwatch::start();
        let (verdict, note) = match step.run(context) {
            Ok(found) => (Verdict::Passed, found),
            Err(Trouble::Failed(why)) => (Verdict::Failed, why),
            Err(Trouble::Missing(why)) => (Verdict::NotRun, why),
        };
        let (name, word, took) = (step.name(), verdict.word(), spoken(watch.read()));
        context.console.note(format!("--- {name} {word} after {took}: {note}").trim_end_matches([':', ' ']));
        (verdict, watch, note)
    };
    Entry { step, verdict, took: watch.read(), note }
}
