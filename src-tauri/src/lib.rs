//! Kith for the desktop.
