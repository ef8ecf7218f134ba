//! The one binary; all of it is in the library beside it.

/// Messages, futures and answers are made and dropped by the permit, most of them on another thread: what that costs is the
/// allocator's to say, and this one says less than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bursar::run()
}
