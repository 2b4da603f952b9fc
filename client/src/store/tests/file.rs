use super::*;

fn bytes_of(fixture: &Fixture) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

#[tokio::test]
async fn sec_084_a_wrong_key_is_named_and_leaves_the_file_untouched() {
    let mut fixture = Fixture::new().await;
    fixture.send("precious").await;
    fixture.store.close().await;
    let before = bytes_of(&fixture);
    let path = fixture.folder.path().join("kith.db");
    let wrong = Store::open(&path, &Key::new([8; 32]), fixture.ada).await;
    assert!(matches!(&wrong, Err(ClientError::KeyMissing)));
    assert_eq!(wrong.map(drop).map_err(|error| error.code()), Err("key_missing"));
    assert_eq!(bytes_of(&fixture), before);
    fixture.reopen().await;
    assert_eq!(fixture.texts().await, ["precious"]);
}

#[tokio::test]
async fn sec_084_no_text_can_be_read_from_database_wal_or_journal() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..200 {
        fixture.says(bo, &format!("unmistakable-{at}"));
    }
    fixture.apply(vec![fixture.append(1, 200)]).await;
    fixture.send("unmistakable too").await;
    let holds = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    let open = bytes_of(&fixture);
    assert!(!holds(&open, b"unmistakable") && !holds(&open, b"SQLite format"));
    fixture.store.close().await;
    let closed = bytes_of(&fixture);
    assert!(!holds(&closed, b"unmistakable") && !holds(&closed, b"SQLite format"));
}

#[tokio::test]
async fn sec_084_the_key_is_256_bits_used_as_they_are() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let path = fixture.folder.path().join("kith.db");
    let hex: String = fixture.key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex.len(), 64);
    let tables = |key: String| {
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.pragma_update(None, "key", key).unwrap();
        conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, u32>(0))
    };
    assert!(tables(format!("x'{hex}'")).unwrap() > 0, "raw");
    assert!(tables(hex).is_err(), "never a passphrase that is stretched");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let fixture = Fixture::new().await;
    fixture.write(|tx| Ok(tx.conn.pragma_update(None, "user_version", 99)?)).await;
    fixture.store.close().await;
    let path = fixture.folder.path().join("kith.db");
    let newer = Store::open(&path, &fixture.key, fixture.ada).await;
    let known = crate::store::schema::MIGRATIONS.len() as u32;
    assert!(matches!(newer, Err(ClientError::NewerFile { found: 99, known: here }) if here == known));
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    assert!(matches!(fixture.store.numbers().await, Err(ClientError::Closed)));
    assert!(matches!(fixture.store.write(|_| Ok(())).await, Err(ClientError::Closed)));
}
