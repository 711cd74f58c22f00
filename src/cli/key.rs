//! `key`: creates and lists keys.

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};

use crate::config::{API_KEY_NAME, KeyArgs, KeySource, Right, toml_lines};
use crate::random::random_bytes;

/// The prefix by which scanners for leaked secrets can recognise a key.
const PREFIX: &str = "ves_";

/// Operations on keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Create a key. Prints the key, which is shown only once, and its entry for KEYS_FILE.
    New(NewKey),
    /// List the names, rights and collections of the configured keys.
    List(KeyArgs),
}

/// Options for a new key.
#[derive(Args, Debug)]
pub(super) struct NewKey {
    /// Name of the key's holder in logs.
    name: String,
    /// Rights of the key.
    #[arg(long, required = true, value_delimiter = ',')]
    rights: Vec<Right>,
    /// Patterns of the collections that the key may use, such as `family-*` [default: all].
    #[arg(long, value_delimiter = ',')]
    collections: Vec<String>,
    /// Recordings and comparisons per minute; 0 for no limit [default: RATE_LIMIT_PER_MINUTE].
    #[arg(long)]
    rate_limit_per_minute: Option<u32>,
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::New(new) => make(&new),
        KeyCommand::List(args) => list(&args.try_into()?),
    }
}

/// Prints the key to standard error. The entry goes to standard output, so that it can be appended to the file.
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
