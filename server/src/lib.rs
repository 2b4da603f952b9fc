//! The Kith sync server.
