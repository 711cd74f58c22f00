//! Which channel of a recording is meant, in the OpenAPI document.

use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Object, ObjectBuilder, Type};

/// `mix`, or a number, perhaps in a string.
pub(in crate::http) fn channel_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
        .description(Some(
            "Which channel to embed: `mix` for the mean of all, or its number, counted from 0.",
        ))
        .default(Some("mix".into()))
        .build()
}
