//! Parses arguments and variables, inserts `serve` if no command is named, and names the variable in errors.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ErrorKind};

use crate::config::with_tidy_variables;

/// Arguments that request help or the version instead of starting the service.
const NOT_OF_SERVE: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// The exit status for wrong arguments, the same as clap's.
const USAGE: u8 = 2;

/// Parses the arguments of a process, the first of which is its name. If they are wrong or request help, prints the
/// message and returns the exit status.
pub(super) fn parse<C: Parser>(arguments: impl Iterator<Item = OsString>) -> Result<C, ExitCode> {
    let arguments = with_command(arguments.collect());
    let matches = with_tidy_variables(C::command()).try_get_matches_from(&arguments);
    matches.and_then(|matches| C::from_arg_matches(&matches)).map_err(|error| {
        if let Some(line) = bad_value(&error, &arguments) {
            eprintln!("error: {line}");
            return ExitCode::from(USAGE);
        }
        // If the output is closed, the message is lost.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
    })
}

/// Inserts `serve` before flags that have no command.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments.get(1).map(|argument| argument.to_string_lossy().into_owned());
    let is_command = first.is_some_and(|first| !first.starts_with('-') || NOT_OF_SERVE.contains(&&*first));
    if !is_command {
        arguments.insert(1.min(arguments.len()), "serve".into());
    }
    arguments
}

/// Formats one line about an invalid value: the variable or flag, the value and the reason.
fn bad_value(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    // For example `--port <PORT>`: the value name equals the variable's name.
    let argument = error.get(ContextKind::InvalidArg)?.to_string();
    let (flag, variable) = argument.split_once(" <").or_else(|| argument.split_once("=<"))?;
    let variable = variable.trim_end_matches(['>', ']']);
    let value = error.get(ContextKind::InvalidValue)?.to_string();
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(known)) => format!("must be one of: {known}"),
        (None, None) => return None,
    };
    let is_flag = arguments.iter().any(|given| given.to_string_lossy().starts_with(flag));
    Some(if is_flag { format!("{flag} {value}: {reason}") } else { format!("{variable}={value}: {reason}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serve_is_the_command_of_flags_alone() {
        let cases = [
            ("", "serve"),
            ("--port 9000", "serve --port 9000"),
            ("serve --port 9000", "serve --port 9000"),
            ("model path", "model path"),
            ("--help", "--help"),
            ("-V", "-V"),
        ];
        for (given, expected) in cases {
            let arguments = |text: &str| -> Vec<OsString> {
                ["program"].into_iter().chain(text.split_whitespace()).map(OsString::from).collect()
            };
            assert_eq!(with_command(arguments(given)), arguments(expected), "{given}");
        }
    }
}
