//! All statements, in the common subset of SQLite and PostgreSQL.

macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(pub(super) const $name: &str = $sql;)*

        /// All statements, for tests.
        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),*];
    };
}

/// The rows of profiles for the index.
macro_rules! profiles {
    () => {
        "SELECT p.speaker, m.fingerprint, p.vector, p.seconds, p.enrolments, p.without_seconds, p.warnings FROM profiles p
            JOIN models m ON m.key = p.model"
    };
}

/// The rows of speakers for an export, each with an enrolment.
macro_rules! exported {
    () => {
        "SELECT s.key, s.collection, s.id, s.name, s.metadata, s.created, s.updated, COALESCE(e.id, ''), m.fingerprint, e.digest, e.vector,
            e.speech_seconds, e.similarity, e.warnings, e.created FROM speakers s LEFT JOIN enrolments e ON e.speaker = s.key
            LEFT JOIN models m ON m.key = e.model"
    };
}

statements! {
    // Statements for changes since a revision.
    CHANGED_SPEAKERS = "SELECT key, collection, id, name FROM speakers WHERE revision > ?1";
    CHANGED_PROFILES = concat!(profiles!(), " WHERE p.speaker IN (SELECT key FROM speakers WHERE revision > ?1)");
    ALL_PROFILES = profiles!();
    REMOVED_SPEAKERS = "SELECT speaker FROM removals WHERE revision > ?1";

    // Statements that read.
    SPEAKER = "SELECT key, collection, id, name, metadata, created, updated FROM speakers WHERE collection = ?1 AND id = ?2";
    KEY = "SELECT key FROM speakers WHERE collection = ?1 AND id = ?2";
    SPEAKERS_AFTER = "SELECT key, collection, id, name, metadata, created, updated FROM speakers
        WHERE collection = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    ENROLMENT_COUNT = "SELECT COUNT(*) FROM enrolments WHERE speaker = ?1";
    PROFILE_SUMMARIES = "SELECT m.fingerprint, p.seconds, p.enrolments FROM profiles p JOIN models m ON m.key = p.model
        WHERE p.speaker = ?1 ORDER BY m.fingerprint";
    PROFILE = "SELECT p.vector, p.seconds, p.enrolments, p.without_seconds, p.warnings FROM profiles p JOIN models m ON m.key = p.model
        WHERE p.speaker = ?1 AND m.fingerprint = ?2";
    ENROLMENTS = "SELECT e.id, m.fingerprint, e.speech_seconds, e.similarity, e.warnings, e.created FROM enrolments e
        JOIN models m ON m.key = e.model WHERE e.speaker = ?1 ORDER BY e.key";
    ENROLMENT = "SELECT e.id, m.fingerprint, e.speech_seconds, e.similarity, e.warnings, e.created FROM enrolments e
        JOIN models m ON m.key = e.model WHERE e.speaker = ?1 AND e.id = ?2";
    COLLECTIONS = "SELECT s.collection, COUNT(*), CAST(SUM((SELECT COUNT(*) FROM enrolments e WHERE e.speaker = s.key)) AS BIGINT)
        FROM speakers s GROUP BY s.collection ORDER BY s.collection";
    ENROLMENTS_BY_MODEL = "SELECT m.fingerprint, COUNT(*) FROM enrolments e JOIN models m ON m.key = e.model GROUP BY m.key";

    // Statements for exports: speakers sorted by collection and id, each with all enrolments.
    MODELS = "SELECT fingerprint, dimension FROM models ORDER BY fingerprint";
    MODELS_OF_COLLECTION = "SELECT DISTINCT m.fingerprint, m.dimension FROM models m JOIN enrolments e ON e.model = m.key
        JOIN speakers s ON s.key = e.speaker WHERE s.collection = ?1 ORDER BY m.fingerprint";
    EXPORT = concat!(exported!(), " ORDER BY s.collection, s.id, e.key");
    EXPORT_COLLECTION = concat!(exported!(), " WHERE s.collection = ?1 ORDER BY s.id, e.key");

    // Statements that write.
    RAISE_REVISION = "UPDATE state SET revision = revision + 1, speakers = speakers + ?1 RETURNING revision, speakers";
    COUNT_SPEAKERS = "UPDATE state SET speakers = speakers + ?1";
    TOUCH_STATE = "UPDATE state SET revision = revision";
    MODEL = "SELECT key FROM models WHERE fingerprint = ?1";
    MODEL_DIMENSION = "SELECT dimension FROM models WHERE fingerprint = ?1";
    ADD_MODEL = "INSERT INTO models (fingerprint, dimension) VALUES (?1, ?2)";
    ADD_SPEAKER = "INSERT INTO speakers (collection, id, name, metadata, created, updated, revision)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING key";
    CHANGE_SPEAKER = "UPDATE speakers SET name = ?2, metadata = ?3, updated = ?4, revision = ?5 WHERE key = ?1";
    TOUCH_SPEAKER = "UPDATE speakers SET updated = ?2, revision = ?3 WHERE key = ?1";
    REMOVE_SPEAKER = "DELETE FROM speakers WHERE key = ?1";
    REMEMBER_REMOVAL = "INSERT INTO removals (revision, speaker) VALUES (?1, ?2)";
    REMOVE_COLLECTION = "DELETE FROM speakers WHERE collection = ?1";
    REMEMBER_COLLECTION = "INSERT INTO removals (revision, speaker) SELECT CAST(?2 AS BIGINT), key FROM speakers WHERE collection = ?1";
    FORGET_REMOVALS = "DELETE FROM removals WHERE revision <= ?1";
    SET_FORGOTTEN = "UPDATE state SET forgotten = ?1 WHERE forgotten < ?1";
    // A digest has few rows. With more conditions, the database might start with another index.
    BY_DIGEST = "SELECT e.id, s.key, s.id, s.collection, m.fingerprint FROM enrolments e JOIN speakers s ON s.key = e.speaker
        JOIN models m ON m.key = e.model WHERE e.digest = ?1";
    SAMPLES = "SELECT vector, speech_seconds, warnings FROM enrolments WHERE speaker = ?1 AND model = ?2 ORDER BY key";
    ADD_ENROLMENT = "INSERT INTO enrolments (speaker, id, model, digest, vector, speech_seconds, similarity, warnings, created)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    SPEAKER_OF_ENROLMENT = "SELECT s.collection, s.id FROM enrolments e JOIN speakers s ON s.key = e.speaker WHERE e.id = ?1";
    MODELS_OF_SPEAKER = "SELECT DISTINCT model FROM enrolments WHERE speaker = ?1";
    MODEL_OF_ENROLMENT = "SELECT model FROM enrolments WHERE speaker = ?1 AND id = ?2";
    MOVE_ENROLMENT = "UPDATE enrolments SET speaker = ?3 WHERE speaker = ?1 AND id = ?2";
    MOVE_ENROLMENTS = "UPDATE enrolments SET speaker = ?2 WHERE speaker = ?1";
    REMOVE_ENROLMENT = "DELETE FROM enrolments WHERE speaker = ?1 AND id = ?2";
    REMOVE_ENROLMENTS = "DELETE FROM enrolments WHERE speaker = ?1";
    REMOVE_PROFILE = "DELETE FROM profiles WHERE speaker = ?1 AND model = ?2";
    SET_PROFILE = "INSERT INTO profiles (speaker, model, vector, seconds, enrolments, without_seconds, warnings)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (speaker, model) DO UPDATE SET vector = excluded.vector, seconds = excluded.seconds, enrolments = excluded.enrolments,
        without_seconds = excluded.without_seconds, warnings = excluded.warnings";
}
