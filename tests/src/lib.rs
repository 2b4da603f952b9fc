//! The test kit: a real server, real people, waiting for facts.
