//! What a request *means*: one function, one transaction. Knows no HTTP and no socket.

pub mod accounts;
pub mod passwords;
pub mod publish;
pub mod sessions;
