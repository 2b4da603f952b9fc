//! End to end: engines, and the real window, against a real server.
