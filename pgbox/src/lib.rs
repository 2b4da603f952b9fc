//! A private PostgreSQL cluster in a folder.
