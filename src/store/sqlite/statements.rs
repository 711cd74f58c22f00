//! Every statement, and the tables they are about.

/// The version of the tables below, as `user_version` of the database.
pub(super) const VERSION: i64 = 2;

/// Marks a database as this program's: "VoEm" in ASCII, as `application_id`.
pub(super) const APPLICATION_ID: i64 = 0x566f_456d;

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
];

macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(pub(super) const $name: &str = $sql;)*

        #[cfg(test)]
        const ALL: &[&str] = &[$($name),*];
    };
}

statements! {
    // What follows changes. Few have changed: CROSS JOIN keeps the order.
    REVISION = "SELECT revision, forgotten FROM state";
    CHANGED_SPEAKERS = "SELECT key, collection, id, name FROM speakers WHERE revision > ?1";
    CHANGED_PROFILES = "SELECT p.speaker, m.fingerprint, p.vector, p.seconds, p.enrolments, p.without_seconds, p.warnings FROM speakers s
        CROSS JOIN profiles p ON p.speaker = s.key CROSS JOIN models m ON m.key = p.model WHERE s.revision > ?1";
    ALL_PROFILES = "SELECT p.speaker, m.fingerprint, p.vector, p.seconds, p.enrolments, p.without_seconds, p.warnings FROM profiles p JOIN models m ON m.key = p.model";
    REMOVED_SPEAKERS = "SELECT speaker FROM removals WHERE revision > ?1";

    // What reads.
    SPEAKER = "SELECT key, collection, id, name, metadata, created, updated FROM speakers WHERE collection = ?1 AND id = ?2";
    KEY = "SELECT key FROM speakers WHERE collection = ?1 AND id = ?2";
    SPEAKERS_AFTER = "SELECT key, collection, id, name, metadata, created, updated FROM speakers
        WHERE collection = ?1 AND id > ?2 ORDER BY id";
    ENROLMENT_COUNT = "SELECT COUNT(*) FROM enrolments WHERE speaker = ?1";
    PROFILE_SUMMARIES = "SELECT m.fingerprint, p.seconds, p.enrolments FROM profiles p JOIN models m ON m.key = p.model
        WHERE p.speaker = ?1 ORDER BY m.fingerprint";
    PROFILE = "SELECT p.vector, p.seconds, p.enrolments, p.without_seconds, p.warnings FROM profiles p JOIN models m ON m.key = p.model
        WHERE p.speaker = ?1 AND m.fingerprint = ?2";
    ENROLMENTS = "SELECT e.id, m.fingerprint, e.speech_seconds, e.similarity, e.warnings, e.created FROM enrolments e
        JOIN models m ON m.key = e.model WHERE e.speaker = ?1 ORDER BY e.key";
    ENROLMENT = "SELECT e.id, m.fingerprint, e.speech_seconds, e.similarity, e.warnings, e.created FROM enrolments e
        JOIN models m ON m.key = e.model WHERE e.speaker = ?1 AND e.id = ?2";
    COLLECTIONS = "SELECT s.collection, COUNT(*), SUM((SELECT COUNT(*) FROM enrolments e WHERE e.speaker = s.key))
        FROM speakers s GROUP BY s.collection ORDER BY s.collection";
    ENROLMENTS_BY_MODEL = "SELECT m.fingerprint, COUNT(*) FROM enrolments e JOIN models m ON m.key = e.model GROUP BY m.key";

    // What writes.
    RAISE_REVISION = "UPDATE state SET revision = revision + 1 RETURNING revision";
    TOUCH_STATE = "UPDATE state SET revision = revision";
    SPEAKER_COUNT = "SELECT speakers FROM state";
    MODEL = "SELECT key FROM models WHERE fingerprint = ?1";
    ADD_MODEL = "INSERT INTO models (fingerprint, dimension) VALUES (?1, ?2)";
    ADD_SPEAKER = "INSERT INTO speakers (collection, id, name, metadata, created, updated, revision)
        VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)";
    CHANGE_SPEAKER = "UPDATE speakers SET name = ?2, metadata = ?3, updated = ?4, revision = ?5 WHERE key = ?1";
    TOUCH_SPEAKER = "UPDATE speakers SET updated = ?2, revision = ?3 WHERE key = ?1";
    REMOVE_SPEAKER = "DELETE FROM speakers WHERE key = ?1";
    REMEMBER_REMOVAL = "INSERT INTO removals (revision, speaker) VALUES (?1, ?2)";
    REMOVE_COLLECTION = "DELETE FROM speakers WHERE collection = ?1";
    REMEMBER_COLLECTION = "INSERT INTO removals (revision, speaker) SELECT ?2, key FROM speakers WHERE collection = ?1";
    FORGET_REMOVALS = "DELETE FROM removals WHERE revision <= ?1";
    SET_FORGOTTEN = "UPDATE state SET forgotten = ?1 WHERE forgotten < ?1";
    BY_DIGEST = "SELECT e.id, s.key, s.id FROM enrolments e JOIN speakers s ON s.key = e.speaker
        JOIN models m ON m.key = e.model WHERE e.digest = ?1 AND m.fingerprint = ?2 AND s.collection = ?3";
    SAMPLES = "SELECT vector, speech_seconds, warnings FROM enrolments WHERE speaker = ?1 AND model = ?2 ORDER BY key";
    ADD_ENROLMENT = "INSERT INTO enrolments (speaker, id, model, digest, vector, speech_seconds, similarity, warnings, created)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    MODELS_OF_SPEAKER = "SELECT DISTINCT model FROM enrolments WHERE speaker = ?1";
    MODEL_OF_ENROLMENT = "SELECT model FROM enrolments WHERE speaker = ?1 AND id = ?2";
    MOVE_ENROLMENT = "UPDATE enrolments SET speaker = ?3 WHERE speaker = ?1 AND id = ?2";
    MOVE_ENROLMENTS = "UPDATE enrolments SET speaker = ?2 WHERE speaker = ?1";
    REMOVE_ENROLMENT = "DELETE FROM enrolments WHERE speaker = ?1 AND id = ?2";
    REMOVE_ENROLMENTS = "DELETE FROM enrolments WHERE speaker = ?1";
    REMOVE_PROFILE = "DELETE FROM profiles WHERE speaker = ?1 AND model = ?2";
    SET_PROFILE = "INSERT INTO profiles (speaker, model, vector, seconds, enrolments, without_seconds, warnings)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (speaker, model) DO UPDATE SET vector = ?3, seconds = ?4, enrolments = ?5, without_seconds = ?6, warnings = ?7";
}

#[cfg(test)]
mod tests {
    use super::*;
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
            if [ALL_PROFILES, COLLECTIONS, ENROLMENTS_BY_MODEL].contains(statement) {
                continue;
            }
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let n = plan.parameter_count();
            let steps =
                plan.query_map(rusqlite::params_from_iter(vec!["1"; n]), |row| row.get::<_, String>(3));
            for step in steps.unwrap().map(Result::unwrap) {
                let scans = step.starts_with("SCAN") && !["SCAN state", "SCAN m"].contains(&step.as_str());
                assert!(!scans, "{statement}: {step}");
            }
        }
    }
}
