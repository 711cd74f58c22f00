//! The schema of a recording's channel, for the OpenAPI document.

use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Object, ObjectBuilder, Type};

/// Returns the schema of `mix` or a number, which may be in a string.
pub(in crate::http) fn channel_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
        .description(Some(
            "The channel to embed: `mix` for the mean of all channels, or a channel number, counted from 0.",
        ))
        .default(Some("mix".into()))
        .build()
}
