//! The tables, by version.

/// The version of the tables below, as `user_version` of the database.
pub(super) const VERSION: i64 = 3;

/// Marks a database as this program's: "VoEm" in ASCII, as `application_id`.
pub(super) const APPLICATION_ID: i64 = 0x566f_456d;

/// How far a database is.
pub(super) const REVISION: &str = "SELECT revision, forgotten FROM state";

/// What brings a database from each version to the next, beginning with an empty one.
///
/// A speaker's key is never used again. `revision` rises with every change; a speaker has that of its last one, and removals are
/// remembered up to `forgotten`, so that whoever knows a revision can ask for what has changed since. Times are in milliseconds
/// since 1970, vectors little-endian `f32` with L2 norm 1.
pub(super) const MIGRATIONS: [&str; VERSION as usize] = [
    "
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    forgotten INTEGER NOT NULL,
    speakers INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (1, 1, 0, 0);
CREATE TABLE models (
    key INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL
) STRICT;
CREATE TABLE speakers (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (collection, id)
) STRICT;
CREATE INDEX speakers_by_revision ON speakers (revision);
CREATE TRIGGER speaker_added AFTER INSERT ON speakers
    BEGIN UPDATE state SET speakers = speakers + 1; END;
CREATE TRIGGER speaker_removed AFTER DELETE ON speakers
    BEGIN UPDATE state SET speakers = speakers - 1; END;
CREATE TABLE enrolments (
    key INTEGER PRIMARY KEY,
    speaker INTEGER NOT NULL REFERENCES speakers ON DELETE CASCADE,
    id TEXT NOT NULL UNIQUE,
    model INTEGER NOT NULL REFERENCES models,
    digest BLOB NOT NULL,
    vector BLOB NOT NULL,
    speech_seconds REAL,
    similarity REAL,
    warnings TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX enrolments_by_speaker ON enrolments (speaker, model);
CREATE INDEX enrolments_by_digest ON enrolments (digest);
CREATE TABLE profiles (
    key INTEGER PRIMARY KEY,
    speaker INTEGER NOT NULL REFERENCES speakers ON DELETE CASCADE,
    model INTEGER NOT NULL REFERENCES models,
    vector BLOB NOT NULL,
    seconds REAL NOT NULL,
    enrolments INTEGER NOT NULL,
    UNIQUE (speaker, model)
) STRICT;
CREATE TABLE removals (
    key INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    speaker INTEGER NOT NULL
) STRICT;
CREATE INDEX removals_by_revision ON removals (revision);
",
    "
ALTER TABLE profiles ADD COLUMN without_seconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE profiles ADD COLUMN warnings TEXT NOT NULL DEFAULT '';
UPDATE profiles SET without_seconds = (SELECT COUNT(*) FROM enrolments e
    WHERE e.speaker = profiles.speaker AND e.model = profiles.model AND e.speech_seconds IS NULL);
UPDATE profiles SET warnings = IFNULL((SELECT GROUP_CONCAT(e.warnings, ' ') FROM enrolments e
    WHERE e.speaker = profiles.speaker AND e.model = profiles.model AND e.warnings <> ''), '');
",
    // The number of speakers is counted by the statements that change it.
    "
DROP TRIGGER IF EXISTS speaker_added;
DROP TRIGGER IF EXISTS speaker_removed;
",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::statements::{ALL, ALL_PROFILES, COLLECTIONS, ENROLMENTS_BY_MODEL, EXPORT};
    use rusqlite::Connection;

    #[test]
    fn every_statement_can_be_prepared() {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        for statement in ALL {
            connection.prepare(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    #[test]
    fn no_statement_scans_a_table_that_grows_but_those_that_must() {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        for statement in ALL {
            if [ALL_PROFILES, COLLECTIONS, ENROLMENTS_BY_MODEL, EXPORT].contains(statement) {
                continue;
            }
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let n = plan.parameter_count();
            let steps =
                plan.query_map(rusqlite::params_from_iter(vec!["1"; n]), |row| row.get::<_, String>(3));
            for step in steps.unwrap().map(Result::unwrap) {
                let scans = step.starts_with("SCAN")
                    && !["SCAN state", "SCAN m"].iter().any(|small| step.starts_with(small));
                assert!(!scans, "{statement}: {step}");
            }
        }
    }
}
