//! How many runs of a typical script (about 60 lines, 7 commands) one [`Vm`] does in a second.
//!
//! `cargo run --release -p bursar-ledger --example script_rate`

use std::time::Duration;

use bursar_ledger::{HostError, Script, ScriptCall, Vm};
use bursar_quota::{Clock, SystemClock};

const SCRIPT: &str = include_str!("script_rate.lua");
const RUNS: u32 = 100_000;

#[allow(clippy::print_stdout, reason = "printing the figure is what this example is for")]
fn main() -> Result<(), HostError> {
    let clock = SystemClock::new();
    let script = Script::from_source("script_rate", SCRIPT.to_owned());
    let call = ScriptCall {
        keys: ["b:{x}:state", "b:{x}:use", "b:{x}:lease:1"].map(|key| key.as_bytes().to_vec()).to_vec(),
        args: ["3", "60000", "600"].map(|arg| arg.as_bytes().to_vec()).to_vec(),
    };
    let mut vm = Vm::new()?;
    let mut now = Duration::from_secs(1_700_000_000);
    for round in 0..5 {
        let start = clock.monotonic();
        for _ in 0..RUNS {
            now += Duration::from_millis(7);
            vm.run(&script, &call, now)?;
            vm.take_published();
        }
        let spent = (clock.monotonic() - start).as_secs_f64();
        let (rate, micros) = (f64::from(RUNS) / spent, spent * 1e6 / f64::from(RUNS));
        println!("round {round}: {rate:.0} runs a second, {micros:.2} us each");
    }
    Ok(())
}
