use super::{file::parse, *};
use crate::config::DatabaseTls;
use clap::Parser;
use std::fs;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

fn flags(line: &str) -> Settings {
    Line::try_parse_from(line.split(' ')).unwrap().settings
}

fn far(line: &str) -> Result<Config, ConfigError> {
    flags(&format!("kith --listen 0.0.0.0:7480{line}")).config()
}

#[test]
fn a_flag_wins_over_the_file_and_that_over_the_default() {
    let file =
        parse("signup = \"invite\"\nsockets = false\nallowed_origins = [\"https://a.example\"]").unwrap();
    let config = flags("kith --signup open").over(file.clone()).config().unwrap();
    assert_eq!((config.signup, config.sockets), (Signup::Open, false));
    assert_eq!(config.allowed_origins, ["https://a.example"]);
    assert_eq!(file.config().unwrap().database_connections, 20);
    assert_eq!(flags("kith --embedded-db --data-dir /d").embedded_db, Some(true));
    assert_eq!(flags("kith --sockets off --embedded-db off").embedded_db, Some(false));
}

#[test]
fn the_database_is_one_setting_in_two_forms() {
    let file = parse("database_url_file = \"/etc/kith/url\"").unwrap();
    let whole = flags("kith --database-url postgres://ada:long@localhost/kith").over(file.clone());
    assert!(whole.database_url.is_some() && whole.database_url_file.is_none());
    let both = flags("kith --database-url postgres://localhost/kith --database-url-file /f");
    assert_eq!(both.config().err(), Some(ConfigError::TwoDatabases));
    assert!(
        flags("kith --database-url-file /f").over(file).database_url_file.is_some_and(|f| f.ends_with("f"))
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_no_value_is_quoted() {
    let (line, problem) = parse("signup = \"open\"\n\nsignpu = \"open\"\n").unwrap_err();
    assert_eq!(line, 3);
    assert!(problem.contains("signpu") && problem.contains("signup"), "{problem}");
    let (line, problem) = parse("# a comment\ndatabase_url = [\"hunter2\"]").unwrap_err();
    assert!(line == 2 && !problem.contains("hunter2"), "{line} {problem}");
    let (line, problem) = parse("\ndatabase_url = \"mysql://a:hunter2@b/c\"").unwrap_err();
    assert!(line == 2 && !problem.contains("hunter2") && problem.contains("postgres://"), "{line} {problem}");
    assert!(parse("signup = \"sometimes\"").is_err());
    assert!(parse("[section]\nsignup = \"open\"").is_err());
}

#[test]
fn sec_026_plain_http_beyond_this_machine_is_an_explicit_wish() {
    assert_eq!(far("").err(), Some(ConfigError::PlainHttp));
    assert!(far(" --insecure").is_ok());
    assert!(far(" --trusted-proxies 10.0.0.0/8").is_ok());
    assert!(far(" --tls-cert /c --tls-key /k").is_ok());
    assert_eq!(far(" --tls-cert /c").err(), Some(ConfigError::HalfOfTls));
    assert!(flags("kith --listen [::1]:7480").config().is_ok());
}

#[test]
fn sec_092_example_secrets_and_vague_tls_are_refused() {
    let url = |text: &str| text.parse::<DatabaseUrl>();
    for bad in [
        "postgres://kith:changeme@localhost/kith",
        "postgres://kith:ChangeMe@db.example.org/kith",
        "postgres://kith:${POSTGRES_PASSWORD}@localhost/kith",
        "postgres://kith:%3Cpassword%3E@localhost/kith",
        "postgres://kith:secret@db.example.org/kith",
        "postgres://kith@db.example.org/kith?password=changeme",
        "postgres://kith:long-enough@db.example.org/kith?sslmode=prefer",
        // Which of two values counts is for readers to disagree about.
        "postgres://kith@db.example.org/kith?sslmode=verify-full&sslmode=disable",
        "postgres://kith@db.example.org/kith?sslmode=verify-full&ssl-mode=disable",
        "postgres://kith@localhost/kith?host=localhost&hostaddr=10.0.0.2",
        "mysql://localhost/kith",
        "kith",
    ] {
        assert!(url(bad).is_err(), "{bad}");
    }
    let tls = |text: &str| url(text).unwrap().tls();
    assert_eq!(tls("postgres://kith:secret@localhost/kith"), DatabaseTls::Local);
    assert_eq!(tls("postgres://kith@localhost/kith?host=/run/postgresql"), DatabaseTls::Local);
    assert_eq!(tls("postgres://kith@%2Frun%2Fpostgresql/kith"), DatabaseTls::Local);
    assert_eq!(tls("postgres://kith@10.0.0.2/kith"), DatabaseTls::Unsaid);
    assert_eq!(tls("postgres://kith@localhost/kith?host=10.0.0.2"), DatabaseTls::Unsaid);
    assert_eq!(tls("postgres://kith@localhost/kith?hostaddr=10.0.0.2"), DatabaseTls::Unsaid);
    assert_eq!(tls("postgres://kith@10.0.0.2/kith?sslmode=verify-ca"), DatabaseTls::Unverified);
    assert_eq!(tls("postgres://kith@db/kith?sslmode=disable"), DatabaseTls::Renounced);
    assert!(url("postgres://kith@10.0.0.2/kith").unwrap().reveal().ends_with("?sslmode=verify-full"));
    assert!(!url("postgres://kith@localhost/kith").unwrap().reveal().contains("sslmode"));
}

#[test]
fn sec_092_a_database_or_a_bus_elsewhere_needs_a_verified_certificate_or_a_trusted_network() {
    let config = |rest: &str| flags(&format!("kith {rest}")).config();
    for url in ["postgres://kith@localhost/kith", "postgres://kith@db.example.org/kith?sslmode=verify-full"] {
        assert!(config(&format!("--database-url {url}")).is_ok(), "{url}");
    }
    for mode in ["disable", "require", "verify-ca"] {
        let url = format!("--database-url postgres://kith@db.example.org/kith?sslmode={mode}");
        assert_eq!(config(&url).unwrap_err(), ConfigError::PlainDatabase, "{mode}");
        assert!(config(&format!("{url} --trusted-network")).is_ok(), "{mode}");
    }
    for bus in ["tls://bus.example.org", "nats://127.0.0.1:4222"] {
        assert!(config(&format!("--bus {bus}")).is_ok(), "{bus}");
    }
    assert_eq!(config("--bus nats://10.0.0.3").unwrap_err(), ConfigError::PlainBus);
    assert!(config("--bus nats://10.0.0.3 --trusted-network").is_ok());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bus");
    fs::write(&file, "nats://10.0.0.3").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let from_file = |rest: &str| flags(&format!("kith --bus-file {}{rest}", file.display())).bus();
    assert!(matches!(from_file(""), Err(SecretFileError::Bad { .. })));
    assert!(from_file(" --trusted-network").unwrap().is_some());
}

#[test]
fn sec_092_what_is_wrong_is_named_without_its_value() {
    for text in [
        "signup = '''\ndatabase_url = \"postgres://a:hunter2@b/c\"'''",
        "access_token_seconds = \"hunter2\"",
        "\"postgres://a:hunter2@b/c\" = 1",
    ] {
        let (_, problem) = parse(text).unwrap_err();
        assert!(!problem.contains("hunter2") && problem.contains("expected"), "{problem}");
    }
    assert!(parse("sign_up = 1").unwrap_err().1.contains("sign_up"));
}

#[test]
fn sec_092_a_password_in_the_wrong_place_is_not_shown_either() {
    for text in ["postgres://hunter2@localhost/kith", "postgres://kith@localhost/kith?pasword=hunter2"] {
        let shown = text.parse::<DatabaseUrl>().unwrap().shown();
        assert!(!shown.contains("hunter2") && shown.contains("localhost/kith"), "{shown}");
    }
    for text in ["postgres://kith:a#hunter2@localhost/kith", "postgres:#:hunter2@localhost/kith"] {
        let problem = text.parse::<DatabaseUrl>().unwrap_err();
        assert!(problem.contains("%23") && !problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn sec_092_a_password_is_shown_nowhere() {
    let settings = flags("kith --database-url postgres://kith:hunter2@localhost/kith?password=hunter3");
    let printed = with_origins(&[("flag or environment", &settings), ("default", &Settings::defaults())]);
    for text in [printed.clone(), format!("{settings:?}")] {
        assert!(!text.contains("hunter") && text.contains("***"), "{text}");
    }
    assert!(printed.contains("# flag or environment") && printed.contains("signup = \"closed\"  # default"));
}

#[cfg(unix)]
#[test]
fn sec_092_a_secret_key_is_long_and_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let key = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        flags(&format!("kith --secret-key-file {}", path.display())).secret_key()
    };
    let good = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    assert_eq!(key(&format!("{good}\n"), 0o600).unwrap().unwrap().reveal(), good.as_bytes());
    assert!(matches!(key(good, 0o644), Err(SecretFileError::Open { .. })));
    for bad in [&good[1..], "", &"x".repeat(64)] {
        assert!(matches!(key(bad, 0o600), Err(SecretFileError::Bad { .. })), "{bad}");
    }
    assert_eq!(format!("{:?}", key(good, 0o600).unwrap().unwrap()), "***");
}

#[cfg(unix)]
#[test]
fn sec_092_a_secret_that_everybody_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    fs::write(&path, "postgres://kith:hunter2@localhost/kith\n").unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert!(matches!(read_private(&path), Err(SecretFileError::Open { .. })));
    mode(0o600);
    assert_eq!(secret::database_url_from(&path).unwrap().reveal(), "postgres://kith:hunter2@localhost/kith");
    let config = dir.path().join("server.toml");
    for secret in [
        "database_url = \"postgres://kith:hunter2@localhost/kith\"",
        "bus = \"tls://kith:hunter2@bus.example\"",
    ] {
        fs::write(&config, secret).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        let error = format!("{:#}", read_file(&config).unwrap_err());
        assert!(error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
    }
    fs::write(&config, "bus = \"tls://bus.example\"").unwrap();
    assert!(read_file(&config).is_ok(), "an address alone is no secret");
    fs::write(&path, "\0\u{1}").unwrap();
    assert!(secret::database_url_from(&path).is_err());
}

#[test]
fn a_proxy_is_an_address_or_a_network_and_never_everybody() {
    let network = |text: &str| text.parse::<Network>();
    assert!(network("10.0.0.0/8").unwrap().contains("10.1.2.3".parse().unwrap()));
    assert!(network("10.0.0.0/8").unwrap().contains("::ffff:10.1.2.3".parse().unwrap()));
    assert!(network("::1").unwrap().contains("::1".parse().unwrap()));
    assert!(!network("192.0.2.1").unwrap().contains("192.0.2.2".parse().unwrap()));
    for bad in ["0.0.0.0/0", "::/0", "proxy", "", "10.0.0.0/33"] {
        assert!(network(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_document_is_up_to_date_and_names_every_setting() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operate/configuration.md");
    let made = document();
    if std::env::var_os("KITH_DOCS").is_some_and(|mode| mode == "write") {
        fs::write(path, &made).unwrap();
    }
    assert!(
        fs::read_to_string(path).unwrap() == made,
        "KITH_DOCS=write cargo test -p kith-server --lib settings"
    );
    assert!(made.lines().filter(|line| line.starts_with("| `")).count() >= 20);
}

/// Any text: an answer or a line with a sentence, and never a panic.
#[test]
fn fuzz_settings_files() {
    let seconds = std::env::var("KITH_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let first: u64 = std::env::var("KITH_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    let mut seed = first;
    while seed < first + 2_000 || std::time::Instant::now() < until {
        let text = mutated(seed);
        let outcome = std::panic::catch_unwind(|| match parse(&text) {
            Ok(settings) => {
                let _ = settings.config();
                let shown = with_origins(&[("file", &settings)]);
                // In the place of the host it is one, as far as anybody can tell.
                let is_host = settings.database_url.as_ref().is_some_and(|url| url.host_has("hunter2"));
                assert!(!shown.contains("hunter2") || is_host, "{shown}");
                // What is printed is read again, but for the password.
                assert!(parse(&shown).is_ok() || shown.contains("***"), "{shown}");
            }
            Err((line, problem)) => assert!(line >= 1 && !problem.contains("hunter2"), "{problem}"),
        });
        assert!(outcome.is_ok(), "KITH_FUZZ_SEED={seed}: {text:?}");
        seed += 1;
    }
}

/// A file with some of its characters changed, doubled, cut out or replaced by awkward ones.
fn mutated(seed: u64) -> String {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
    const WHOLE: &str = "signup = \"invite\"\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
                         database_url = \"postgres://a:hunter2@localhost/k?x=1\"\naccess_token_seconds = 60\n\
                         log = \"info\"\ndrain_seconds = 1\nlog_format = \"json\"\n";
    const AWKWARD: [&str; 16] = [
        "\"",
        "'''",
        "[",
        "]]",
        "=",
        "\n",
        "\r",
        "\0",
        "#",
        "\\u0000",
        "99999999999999999999",
        "-1",
        "é",
        "\u{202e}",
        "{a=1}",
        "1979-05-27",
    ];
    let mut random = StdRng::seed_from_u64(seed);
    let mut chars: Vec<char> = WHOLE.chars().collect();
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..chars.len());
        let to = (at + random.random_range(0..12)).min(chars.len());
        match random.random_range(0..3) {
            0 => drop(chars.drain(at..to)),
            1 => {
                let part: Vec<char> = chars[at..to].to_vec();
                chars.splice(at..at, part);
            }
            _ => {
                let awkward = AWKWARD.choose(&mut random).copied().unwrap_or_default();
                chars.splice(at..to, awkward.chars());
            }
        }
        if chars.is_empty() {
            break;
        }
    }
    chars.into_iter().collect()
}
