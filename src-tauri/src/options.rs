//! The command line.

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};
use url::Url;

/// A messenger that works without a network.
#[derive(Debug, Clone, Parser)]
#[command(name = "kith", version)]
pub(crate) struct Options {
    /// Which profile to open; each has an account, a folder and a window of its own.
    #[arg(long, value_name = "NAME", env = "KITH_PROFILE", default_value = "default", value_parser = profile_name,
        global = true)]
    pub(crate) profile: String,
    /// The folder that holds the profiles.
    #[arg(long, value_name = "DIR", env = "KITH_PROFILES_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The server to sign in to.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) server: Option<String>,
    /// A file of certificates (PEM) to believe besides the system's, for a server with an authority of its own.
    #[arg(long, value_name = "FILE", env = "KITH_CA_FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// The manifest of newer versions to ask for (https), in the place of the build's own.
    #[arg(long, value_name = "URL", env = "KITH_UPDATE_URL", global = true)]
    pub(crate) update_url: Option<Url>,
    /// A file with the public key of who signs them, for an organisation that makes packages of its own.
    #[arg(long, value_name = "FILE", env = "KITH_UPDATE_KEY_FILE", global = true)]
    pub(crate) update_key_file: Option<PathBuf>,
    /// Start in the tray, where there is one.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// Draw in the slow and safe way, or never switch to it by itself (=false).
    #[arg(long, env = "KITH_SAFE_RENDERING", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) safe_rendering: Option<bool>,
    /// A kith:// link to open. It must be the only argument; name a profile or a folder in the environment.
    #[arg(value_name = "LINK")]
    pub(crate) link: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Sign a profile in without opening a window, for scripts.
    SignIn {
        /// The user's name.
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Read the password from the standard input, up to its first line's end.
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

impl Options {
    /// Reads the arguments of a start.
    ///
    /// A link comes from a page or a message. Where the system puts it into a command line carelessly, it can bring options
    /// of its own, for instance another server, so a start with a link takes nothing else.
    ///
    /// # Errors
    /// As clap, and for a link that is not the only argument.
    pub(crate) fn read<T: Into<OsString>>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let options = Self::try_parse_from(&arguments)?;
        let is_link = |argument: &OsString| {
            let start: String = argument.to_string_lossy().trim_start().chars().take(5).collect();
            start.eq_ignore_ascii_case("kith:")
        };
        let has_link = options.link.is_some() || arguments.iter().skip(1).any(is_link);
        if has_link && arguments.len() > 2 {
            let problem = "a start with a link takes no other option";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, problem));
        }
        Ok(options)
    }

    /// The folder that holds the profiles.
    pub(crate) fn data_dir(&self) -> PathBuf {
        let dir = self.data_dir.clone().or_else(|| dirs::data_dir().map(|dir| dir.join("kith")));
        let dir = dir.unwrap_or_else(|| PathBuf::from(".kith"));
        std::path::absolute(&dir).unwrap_or(dir)
    }

    /// The profile's own folder.
    pub(crate) fn profile_dir(&self) -> PathBuf {
        self.data_dir().join(&self.profile)
    }

    /// The name under which the running instance of this profile is found: one for each folder.
    pub(crate) fn instance(&self) -> String {
        format!("org.kith.desktop.p{:016x}", fingerprint(&self.profile_dir()))
    }
}

/// FNV-1a: the same number for the same path in every build, so that an older and a newer version find each other.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn profile_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts && text.len() <= 32 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a profile's name has 1 to 32 of a-z 0-9 _ - and starts with a letter or digit".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, clap::Error> {
        Options::read(line.split(' '))
    }

    #[test]
    fn profile_and_folder_may_stand_before_or_after_the_subcommand() {
        for line in [
            "kith --profile ada --data-dir /d sign-in --username ada --password-stdin",
            "kith sign-in --username ada --password-stdin --profile ada --data-dir /d",
        ] {
            let options = read(line).unwrap();
            assert_eq!(options.profile_dir(), Path::new("/d/ada"));
            assert!(matches!(options.command, Some(Command::SignIn { username, .. }) if username == "ada"));
        }
        assert!(read("kith sign-in --username ada").is_err(), "a password is never an argument");
    }

    #[test]
    fn a44_safe_rendering_can_be_forced_either_way() {
        for (line, wanted) in
            [("kith --safe-rendering", Some(true)), ("kith --safe-rendering=false", Some(false))]
        {
            assert_eq!(read(line).unwrap().safe_rendering, wanted, "{line}");
        }
        assert!(read("kith --safe-rendering=often").is_err());
    }

    #[test]
    fn a_link_is_a_plain_argument() {
        let options = read("kith kith://start?with=bo").unwrap();
        assert_eq!(options.link.as_deref(), Some("kith://start?with=bo"));
    }

    #[test]
    fn sec_056_a_start_with_a_link_takes_no_other_option() {
        for line in [
            "kith --server https://evil.example kith://start?with=bo",
            "kith kith://start?with=bo --server https://evil.example",
            "kith --data-dir /tmp/evil kith://start?with=bo",
            "kith --update-url https://evil.example KITH://start?with=bo",
            "kith --hidden kith://start?with=bo",
            "kith --profile kith://start?with=bo",
            "kith --server kith://start?with=bo",
            "kith kith://start?with=bo sign-in --username ada --password-stdin",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
        assert!(read("kith --server https://chat.example").is_ok());
    }

    #[test]
    fn a_profile_is_never_a_path() {
        for name in ["../ada", "a/b", ".", "Ada", "", "-a", "a\u{e9}"] {
            assert!(Options::read(["kith", "--profile", name]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn each_profile_is_an_instance_of_its_own() {
        let names: Vec<_> =
            ["--profile ada --data-dir /d", "--profile bo --data-dir /d", "--profile ada --data-dir /e"]
                .map(|args| read(&format!("kith {args}")).unwrap().instance())
                .into();
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
    }

    /// A second start hands its arguments over: of whatever they are, only a valid link is followed.
    #[test]
    fn sec_056_hostile_arguments_are_refused_or_do_nothing() {
        let long = "x".repeat(100_000);
        for arguments in [
            &["kith", "--no-such", "x"][..],
            &["kith", "--eval=alert(1)"],
            &["kith", "--remote-debugging-port=9222"],
            &["kith", "--inspect"],
            &["kith", "a", "b"],
            &["kith", "kith://start?with=ada", "kith://start?with=bo"],
            &["kith", "--profile=../../etc"],
            &["kith", "--profile", &long],
            &["kith", "--profile", "a\u{202e}b"],
            &["kith", "--hidden=1"],
            &["kith", "sign-in", "--username", "ada", "--password", "secret"],
        ] {
            assert!(Options::read(arguments).is_err(), "{arguments:?}");
        }
        for link in
            ["javascript:alert(1)", "https://evil.example", "/etc/passwd", "kith://\0", "", "\u{202e}", &long]
        {
            let options = Options::read(["kith", link]).unwrap();
            assert!(crate::link::Link::parse(options.link.as_deref().unwrap()).is_err(), "{link:?}");
        }
    }
}
