//! Code that the tests share.

mod asserts;
pub(crate) mod containers;
mod fixtures;
mod postgres;
mod server;
mod speakers;

pub(crate) use asserts::{assert_close, assert_error, cosine, eventually};
pub(crate) use fixtures::{
    Golden, bits, campplus, campplus_pipeline, campplus_session, committed, conversation, files_under,
    fixture, golden, long_voice, model, native_sessions, parity_data, pipeline, program_outside,
    read_weights, repository, runtime, samples_of, say, session, voice, voice_samples, wav, wav_at,
};
pub(crate) use postgres::{Postgres, free_port, is_root};
pub(crate) use server::{KEY, KilledOnDrop, Server, exit_code, key_lines, status_of};
pub(crate) use speakers::{FINGERPRINT, answered, components, embedding, mixed, unit};
