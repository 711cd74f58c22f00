//! Cleans up environment variables as people and platforms set them.

use clap::{Arg, Command};

/// Makes a command ignore empty variables, and the white space around the values of others.
pub fn with_tidy_variables(command: Command) -> Command {
    command.mut_args(with_tidy_variable).mut_subcommands(with_tidy_variables)
}

/// Compose and Railway pass unset variables as empty ones. The values of secrets are taken verbatim.
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
