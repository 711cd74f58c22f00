//! Which channel of a recording is meant.

use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Object, ObjectBuilder, Type};

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

/// A channel in the OpenAPI document.
pub(in crate::http) fn channel_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
        .description(Some(
            "Which channel to embed: `mix` for the mean of all, or its number, counted from 0.",
        ))
        .default(Some("mix".into()))
        .build()
}
