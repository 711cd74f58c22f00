//! The program: one call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    voice_embedding_service::cli::run()
}
