//! The tables, by version.

/// The version of the tables below. The database stores it as `user_version`.
pub(super) const VERSION: i64 = 3;

/// Marks a database as this program's: "VoEm" in ASCII, as `application_id`.
pub(super) const APPLICATION_ID: i64 = 0x566f_456d;

/// Reads the revision of a database.
pub(super) const REVISION: &str = "SELECT revision, forgotten FROM state";

/// The migrations from each version to the next, starting with an empty database.
///
/// A speaker's key is never reused. `revision` rises with every change, and each speaker stores the revision of its last
/// change. Removals after the revision `forgotten` are recorded. A reader that knows a revision can therefore query all
/// changes since then. Times are in milliseconds since 1970. Vectors are little-endian `f32` with L2 norm 1.
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
    // The statements that change the number of speakers count it.
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
