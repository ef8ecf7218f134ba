//! The one binary; all of it is in the library beside it.

fn main() -> std::process::ExitCode {
    bursar::run()
}
