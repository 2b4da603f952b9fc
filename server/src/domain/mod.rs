//! What a request *means*: one function, one transaction. Knows no HTTP and no socket.

pub mod access;
pub mod accounts;
pub mod annotations;
pub mod append;
pub mod batch;
pub mod cleaning;
pub mod cursor;
pub mod effects;
pub mod epoch;
pub mod fetch;
pub mod heads;
pub mod import;
pub mod keys;
pub mod lanes;
pub mod log;
pub mod markers;
pub mod open;
pub mod own;
mod password_rules;
pub mod passwords;
pub mod policy;
pub mod publish;
pub mod receipts;
pub mod sessions;
