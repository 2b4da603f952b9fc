//! Right and wrong passphrases, files that were damaged, tampered with, or come from a newer version.

use super::*;
use crate::secrets::SecretStore as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const RIGHT: &str = "correct horse battery";

fn name(user: &str) -> SecretName {
    SecretName { service: "kith/ada.1/https://chat.example.org".to_owned(), user: user.to_owned() }
}

/// A file with a session and a key.
struct Bench {
    folder: TempDir,
    file: PassphraseFile,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let entries = Entries::from([
            (name("session"), Hidden::new(b"unmistakable token".to_vec())),
            (name("key"), Hidden::new(vec![7; 32])),
        ]);
        let file = PassphraseFile::create(&folder.path().join("secrets.sealed"), RIGHT, entries).unwrap();
        Self { folder, file }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("secrets.sealed")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// The file as the next start finds it.
    fn found(&self) -> PassphraseFile {
        PassphraseFile::find(&self.path()).unwrap()
    }

    /// Another content with a checksum that fits.
    fn put(&self, mut content: Vec<u8>) {
        let checksum = Sha256::digest(&content);
        content.extend(checksum);
        fs::write(self.path(), content).unwrap();
    }

    fn content(&self) -> Vec<u8> {
        let bytes = self.bytes();
        bytes[..bytes.len() - 32].to_vec()
    }
}

fn is_wrong(result: Result<(), PassphraseError>) -> bool {
    matches!(result, Err(PassphraseError::Wrong))
}

#[test]
fn sec_085_a_the_right_passphrase_opens_the_file_and_a_wrong_one_changes_nothing() {
    let bench = Bench::new();
    let before = bench.bytes();
    let found = bench.found();
    assert_eq!(found.get(&name("key")).err(), Some(SecretError::Unusable), "locked");
    assert_eq!(found.set(&name("key"), b"other"), Err(SecretError::Unusable));
    for wrong in ["correct horse batterY", "correct horse battery ", "short", ""] {
        assert!(is_wrong(found.unlock(wrong)), "{wrong:?}");
        assert!(!found.is_open() && found.trouble().is_none());
    }
    assert_eq!(bench.bytes(), before);
    found.unlock(RIGHT).unwrap();
    assert_eq!(found.get(&name("session")).unwrap().unwrap().as_slice(), b"unmistakable token");
    assert_eq!(found.get(&name("key")).unwrap().unwrap().as_slice(), [7; 32]);
    assert!(found.get(&name("nothing")).unwrap().is_none());
}

#[test]
fn sec_085_a_the_file_is_its_owners_alone_and_shows_no_secret() {
    let bench = Bench::new();
    bench.file.set(&name("session"), b"unmistakable successor").unwrap();
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(bench.path()).unwrap().permissions()) & 0o777,
        0o600
    );
    let bytes = bench.bytes();
    for secret in [b"unmistakable".as_slice(), &[7; 32], RIGHT.as_bytes(), b"chat.example.org"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn what_is_set_and_removed_is_there_after_the_next_start() {
    let bench = Bench::new();
    let first = bench.bytes();
    bench.file.set(&name("session"), b"second").unwrap();
    bench.file.delete(&name("key")).unwrap();
    bench.file.delete(&name("key")).unwrap();
    let found = bench.found();
    found.unlock(RIGHT).unwrap();
    assert_eq!(found.get(&name("session")).unwrap().unwrap().as_slice(), b"second");
    assert!(found.get(&name("key")).unwrap().is_none());
    let (before, after) =
        (Sealed::parse(&first).unwrap().header, Sealed::parse(&bench.bytes()).unwrap().header);
    assert_ne!(before, after, "no nonce is used twice");
}

#[test]
fn a_write_that_fails_leaves_file_and_memory_as_they_were() {
    let bench = Bench::new();
    let before = bench.bytes();
    // Something that is no file is in the way of the next content.
    fs::create_dir(bench.path().with_added_extension("part")).unwrap();
    assert_eq!(bench.file.set(&name("session"), b"second"), Err(SecretError::Unusable));
    assert_eq!(bench.file.get(&name("session")).unwrap().unwrap().as_slice(), b"unmistakable token");
    assert_eq!(bench.bytes(), before);
}

#[test]
fn a_passphrase_can_be_changed_by_who_knows_it() {
    let bench = Bench::new();
    assert!(is_wrong(bench.file.change("not the passphrase", "another passphrase")));
    assert!(matches!(bench.file.change(RIGHT, "short"), Err(PassphraseError::Unfit)));
    bench.found().unlock(RIGHT).unwrap();
    bench.file.change(RIGHT, "another passphrase").unwrap();
    bench.file.set(&name("session"), b"after").unwrap();
    let found = bench.found();
    assert!(is_wrong(found.unlock(RIGHT)));
    found.unlock("another passphrase").unwrap();
    assert_eq!(found.get(&name("session")).unwrap().unwrap().as_slice(), b"after");
    assert_eq!(found.get(&name("key")).unwrap().unwrap().as_slice(), [7; 32]);
}

#[test]
fn after_five_wrong_ones_each_costs_a_growing_wait() {
    let bench = Bench::new();
    let found = bench.found();
    for _ in 0..5 {
        assert!(is_wrong(found.unlock("not the passphrase")));
    }
    for passphrase in ["not the passphrase", RIGHT] {
        let waits = found.unlock(passphrase);
        assert!(matches!(waits, Err(PassphraseError::Wait { retry_after_ms: 1..=5_000 })), "{waits:?}");
    }
    assert!(matches!(found.change(RIGHT, "another passphrase"), Err(PassphraseError::Wait { .. })));
    assert!(found.wait_is_over(Instant::now() + Duration::from_secs(5)).is_ok());
    let waits: Vec<_> = (4..=13).map(|wrong| wait_after(wrong).map(|wait| wait.as_secs())).collect();
    let expected =
        [None, Some(5), Some(10), Some(20), Some(40), Some(80), Some(160), Some(300), Some(300), Some(300)];
    assert_eq!(waits, expected);
}

#[test]
fn a_passphrase_has_8_to_256_characters_of_any_script() {
    for (passphrase, is_fit) in [
        ("1234567".to_owned(), false),
        ("12345678".to_owned(), true),
        ("žluťoučk".to_owned(), true),
        ("🐎🔋🐎🔋🐎🔋🐎🔋".to_owned(), true),
        ("x".repeat(256), true),
        ("ﷺ".repeat(256), true),
        ("x".repeat(257), false),
    ] {
        assert_eq!(fitting(&passphrase).is_ok(), is_fit, "{passphrase}");
    }
}

#[test]
fn a_passphrase_is_the_same_on_every_keyboard() {
    let forms = ["\u{e5}ngstr\u{f6}m fine", "a\u{30a}ngstro\u{308}m fine", "\u{e5}ngstr\u{f6}m \u{fb01}ne"];
    let [one, two, three] = forms.map(|form| fitting(form).unwrap());
    assert!(one == two && one == three, "NFKC");
    assert!(fitting("Ångström fine").unwrap() != one, "case counts");
}

#[test]
fn a_key_costs_64_mebibytes_and_three_passes() {
    let bench = Bench::new();
    let header = Sealed::parse(&bench.bytes()).unwrap().header;
    assert!(header.memory_kib >= 64 * 1024 && header.passes >= 3 && header.lanes >= 1);
}

#[test]
fn a_damaged_file_is_no_wrong_passphrase_and_is_kept() {
    let bench = Bench::new();
    let whole = bench.bytes();
    let mutated = (0..whole.len()).step_by(7).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    let short = [0, 1, 100, whole.len() - 1].map(|length| whole[..length].to_vec());
    for bytes in mutated.chain(short).chain([vec![b'x'; 2 * 1024 * 1024]]) {
        fs::write(bench.path(), &bytes).unwrap();
        let found = bench.found();
        let refused = found.unlock(RIGHT);
        assert!(
            matches!(refused, Err(PassphraseError::Damaged | PassphraseError::Newer { .. })),
            "{refused:?}"
        );
        assert!(found.trouble().is_some());
        assert_eq!(found.set(&name("key"), b"x"), Err(SecretError::Unusable));
        assert!(bench.bytes() == bytes, "it is left as it is");
    }
}

#[test]
fn a_newer_versions_file_is_refused_and_kept() {
    let bench = Bench::new();
    let newer = b"{\"format\":\"kith-secrets\",\"version\":2,\"something\":[]}\nelse".to_vec();
    fs::write(bench.path(), &newer).unwrap();
    assert!(matches!(bench.found().unlock(RIGHT), Err(PassphraseError::Newer { found: 2 })));
    assert_eq!(bench.found().trouble(), Some(Trouble::Newer { found: 2 }));
    assert_eq!(bench.bytes(), newer);
}

#[test]
fn a_file_that_demands_too_much_is_refused_before_anything_is_computed() {
    let bench = Bench::new();
    let content = String::from_utf8_lossy(&bench.content()).into_owned();
    let (line, _) = content.split_once('\n').unwrap();
    for (honest, greedy) in [
        ("\"memory_kib\":65536", "\"memory_kib\":4294967295"),
        ("\"passes\":3", "\"passes\":1000000"),
        ("\"lanes\":1", "\"lanes\":64"),
    ] {
        let changed = line.replace(honest, greedy);
        assert_ne!(changed, line);
        bench.put(format!("{changed}\nsealed").into_bytes());
        assert_eq!(bench.found().trouble(), Some(Trouble::Damaged), "{greedy}");
    }
}

#[test]
fn the_header_is_authenticated_with_the_secrets() {
    let bench = Bench::new();
    let content = bench.content();
    let end = content.iter().position(|byte| *byte == b'\n').unwrap();
    // The same header, as another writer would have set it.
    let mut changed = content[..end].to_vec();
    changed.splice(1..1, *b" ");
    changed.extend(&content[end..]);
    bench.put(changed);
    assert!(is_wrong(bench.found().unlock(RIGHT)));
    bench.put(content);
    bench.found().unlock(RIGHT).unwrap();
}
