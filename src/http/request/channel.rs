//! Which channel of a recording is meant.

use crate::audio::{Channel, MAX_CHANNELS};

/// A channel by its name: `mix`, or its number.
pub(in crate::http) fn channel_named(text: &str) -> Result<Channel, String> {
    const MAX: u16 = MAX_CHANNELS - 1;
    match text.trim().parse() {
        _ if text.trim() == "mix" => Ok(Channel::Mix),
        Ok(channel @ 0..=MAX) => Ok(Channel::One(channel)),
        _ => Err(format!("Input should be 'mix' or a number from 0 to {MAX}")),
    }
}
