//! `key`: make and list keys.

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};

use crate::config::{API_KEY_NAME, KeyArgs, KeySource, Right, toml_lines};
use crate::random::random_bytes;

/// What scanners for leaked secrets can recognise a key by.
const PREFIX: &str = "ves_";

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key: print it, once, and its lines for KEYS_FILE.
    New(NewKey),
    /// List names, rights and collections of the keys that are configured.
    List(KeyArgs),
}

/// A key to make.
#[derive(Args, Debug)]
pub(super) struct NewKey {
    /// What logs call its holder.
    name: String,
    /// What it may do.
    #[arg(long, required = true, value_delimiter = ',')]
    rights: Vec<Right>,
    /// Patterns of the collections that it may use, such as `family-*` [default: all].
    #[arg(long, value_delimiter = ',')]
    collections: Vec<String>,
    /// What it may send in a minute; 0 for any number [default: RATE_LIMIT_PER_MINUTE].
    #[arg(long)]
    rate_limit_per_minute: Option<u32>,
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::New(new) => make(&new),
        KeyCommand::List(args) => list(&args.try_into()?),
    }
}

/// The key goes to standard error and its lines to standard output, which can be appended to the file.
fn make(new: &NewKey) -> anyhow::Result<()> {
    if new.name == API_KEY_NAME {
        bail!("{API_KEY_NAME} is the name of the key in API_KEY");
    }
    let key = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
    let lines = toml_lines(&new.name, &key, &new.rights, &new.collections, new.rate_limit_per_minute)?;
    eprintln!("The key, shown only now: {key}\n");
    print!("{lines}");
    Ok(())
}

fn list(source: &KeySource) -> anyhow::Result<()> {
    for key in source.keys().context("the keys cannot be read")? {
        let rights: Vec<&str> = key.rights.iter().map(|right| right.name()).collect();
        println!("{}\t{}\t{}", key.name, rights.join(","), key.collections.join(","));
    }
    Ok(())
}
