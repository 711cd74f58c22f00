//! The program, which only calls the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    voice_embedding_service::cli::run()
}
