//! Environment variables as people and platforms set them.

use clap::{Arg, Command};

/// The command, whose variables count only if they are not empty, and without white space around their values.
pub fn with_tidy_variables(command: Command) -> Command {
    command.mut_args(with_tidy_variable).mut_subcommands(with_tidy_variables)
}

/// Compose and Railway pass on variables that are not set as empty ones. Secrets are taken as they are.
fn with_tidy_variable(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(std::env::var_os);
    let Some(value) = value.as_ref().and_then(|value| value.to_str()) else { return argument };
    let tidy = if argument.is_hide_env_values_set() { value } else { value.trim() };
    if tidy.trim().is_empty() {
        argument.env(None::<&str>)
    } else if tidy == value {
        argument
    } else {
        let tidy = tidy.to_owned();
        argument.env(None::<&str>).default_value(tidy)
    }
}
