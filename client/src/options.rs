//! What an engine is opened with.

use crate::secrets::SecretStore;
use std::{path::PathBuf, sync::Arc};

/// Where an engine lives and what it calls itself.
#[derive(Clone)]
pub struct EngineOptions {
    /// One installation may hold several; each has a folder of its own.
    pub profile: String,
    /// The profile's folder is `data_dir/profile`.
    pub data_dir: PathBuf,
    /// `name/version`.
    pub app: String,
    /// For the device list.
    pub device_name: String,
    /// A file of certificates (PEM) that are believed besides the system's, for a server with an authority of its own.
    pub ca_file: Option<PathBuf>,
    /// Where token and database key are kept.
    pub secrets: Arc<dyn SecretStore>,
}
