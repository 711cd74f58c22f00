//! `completions` and `man`: shell completions and the manual page.

use std::io::Write;

use clap::Command;
use clap_complete::Shell;

use super::outcome::ended_by_reader;

/// Prints the completions for a shell.
pub(super) fn completions(command: &mut Command, shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, env!("CARGO_PKG_NAME"), &mut script);
    ended_by_reader(std::io::stdout().write_all(&script))
}

/// Prints the manual page: the program, then each command.
pub(super) fn man(mut command: Command) -> anyhow::Result<()> {
    command.build();
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    render_commands(&command, &mut page)?;
    ended_by_reader(std::io::stdout().write_all(&page))
}

/// Writes a section for each command and its subcommands.
fn render_commands(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let man = clap_mangen::Man::new(below.clone());
        writeln!(page, ".SH \"{}\"", below.get_bin_name().unwrap_or(below.get_name()).to_uppercase())?;
        let mut section = Vec::new();
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        man.render_extra_section(&mut section)?;
        // Sections of a command become subsections of the command's section.
        page.extend(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").into_bytes());
        render_commands(below, page)?;
    }
    Ok(())
}
