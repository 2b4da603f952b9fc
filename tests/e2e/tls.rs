//! TLS between engine and server: who is believed, and that nothing leads past a certificate that is not.

use anyhow::Result;
use kith_client::{Engine, EngineOptions, view::LinkView};
use kith_server::tls::{Tls, TlsError};
use kith_tests::{TestSecrets, TestServer, certificates::Authority, client::PASSWORD, until};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;

struct World {
    folder: TempDir,
    authority: Authority,
    tls: Arc<Tls>,
    server: TestServer,
}

impl World {
    async fn start(name: &str, until_year: i32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new(folder.path())?;
        authority.certify(name, until_year)?;
        let (certificate, key) = authority.server_files();
        let tls = Arc::new(Tls::load(&certificate, &key)?);
        let server = TestServer::start_with_tls(tls.clone()).await?;
        Ok(Self { folder, authority, tls, server })
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.server.address().port())
    }

    async fn engine(&self, profile: &str, ca_file: Option<PathBuf>) -> Result<Engine> {
        let options = EngineOptions {
            profile: profile.to_owned(),
            data_dir: self.folder.path().to_owned(),
            app: "kith-tests/1".to_owned(),
            device_name: "a computer".to_owned(),
            ca_file,
            secrets: Arc::new(TestSecrets::default()),
        };
        Ok(Engine::open(options).await?)
    }

    async fn refused(&self, profile: &str, ca_file: Option<PathBuf>) -> Result<&'static str> {
        let engine = self.engine(profile, ca_file).await?;
        let name = profile.to_owned();
        let done = engine.sign_up(self.url(), name.clone(), PASSWORD.to_owned(), name, None).await;
        let code = done.expect_err("the certificate is not to be believed").code();
        engine.shutdown().await;
        let pool = sqlx::PgPool::connect(self.server.database_url()).await?;
        let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await?;
        assert_eq!(accounts, 0, "nothing was sent");
        Ok(code)
    }
}

async fn until_link(engine: &Engine, what: &str, fits: impl Fn(&LinkView) -> bool) {
    until(what, || engine.status(), |status| fits(&status.link)).await;
}

/// An authority of one's own, by a file: socket and requests, a talk there and back.
#[tokio::test]
async fn sec_091_a_file_of_ones_own_authority_lets_a_talk_through() -> Result<()> {
    let world = World::start("localhost", 2040).await?;
    let mut engines = Vec::new();
    for name in ["alice", "bob"] {
        let engine = world.engine(name, Some(world.authority.file())).await?;
        let name = name.to_owned();
        engine.sign_up(world.url(), name.clone(), PASSWORD.to_owned(), name, None).await?;
        until_link(&engine, "connected by a socket", |link| *link == LinkView::Connected { polling: false })
            .await;
        engines.push(engine);
    }
    let bob = engines[0].find_people("bob".to_owned()).await?.pop().expect("bob is there");
    let talk = engines[0].start_direct(bob.id, "hello".to_owned()).await?;
    let _ = until(
        "bob has it",
        || engines[1].conversations(),
        |found| found.as_ref().is_ok_and(|found| found.iter().any(|one| one.id == talk && one.unread == 1)),
    )
    .await;
    for engine in engines {
        engine.shutdown().await;
    }
    Ok(())
}

/// Unknown authority, another name, an end in the past: a hard stop with a word of its own, before anything is sent.
#[tokio::test]
async fn sec_091_a_bad_certificate_is_a_hard_stop() -> Result<()> {
    let world = World::start("localhost", 2040).await?;
    assert_eq!(world.refused("stranger", None).await?, "bad_certificate");
    let other = World::start("other.example", 2040).await?;
    assert_eq!(other.refused("wrong-name", Some(other.authority.file())).await?, "bad_certificate");
    let ended = World::start("localhost", 2021).await?;
    assert_eq!(ended.refused("expired", Some(ended.authority.file())).await?, "bad_certificate");
    Ok(())
}

/// A renewed certificate serves without a restart; while a bad one does, the app says why it is offline.
#[tokio::test]
async fn sec_091_a_certificate_that_went_bad_is_told_and_its_renewal_is_enough() -> Result<()> {
    let mut world = World::start("localhost", 2040).await?;
    let engine = world.engine("alice", Some(world.authority.file())).await?;
    engine.sign_up(world.url(), "alice".into(), PASSWORD.into(), "alice".into(), None).await?;
    until_link(&engine, "connected", |link| matches!(link, LinkView::Connected { .. })).await;

    // One that has ended does not take the place of one that has not.
    world.authority.certify("localhost", 2021)?;
    assert!(matches!(world.tls.reload(), Err(TlsError::Ended { .. })));
    assert!(world.tls.ends().format("%Y").to_string() == "2040");
    world.authority.certify("other.example", 2040)?;
    assert!(world.tls.reload()?, "other files");
    assert!(!world.tls.reload()?, "the same files");
    world.server.restart().await?;
    until_link(&engine, "offline for its certificate", |link| {
        matches!(link, LinkView::Offline { bad_certificate: true, .. })
    })
    .await;

    world.authority.certify("localhost", 2041)?;
    assert!(world.tls.reload()?);
    engine.network_changed().await?;
    until_link(&engine, "connected again", |link| matches!(link, LinkView::Connected { .. })).await;
    engine.shutdown().await;
    Ok(())
}

/// Plain HTTP to a port with TLS is refused, not led elsewhere.
#[tokio::test]
async fn sec_090_plain_http_is_refused_where_tls_is_spoken() -> Result<()> {
    let world = World::start("localhost", 2040).await?;
    let url = format!("http://localhost:{}/v1/info", world.server.address().port());
    assert!(reqwest::get(url).await.is_err());
    Ok(())
}

/// What cannot serve is refused with its file, and the earlier certificate goes on serving.
#[tokio::test]
async fn sec_092_a_key_that_everybody_can_read_or_of_another_certificate_does_not_serve() -> Result<()> {
    let world = World::start("localhost", 2040).await?;
    let (certificate, key) = world.authority.server_files();
    let first = std::fs::read(&key)?;
    world.authority.certify("localhost", 2040)?;
    std::fs::write(&key, &first)?;
    assert!(matches!(Tls::load(&certificate, &key), Err(TlsError::Refused(_))), "another one's key");
    assert!(world.tls.reload().is_err(), "and the earlier one serves on");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
        assert!(matches!(Tls::load(&certificate, &key), Err(TlsError::Key(_))));
    }
    std::fs::write(&certificate, "no PEM")?;
    assert!(matches!(Tls::load(&certificate, &key), Err(TlsError::Form { .. })));
    let engine = world.engine("alice", Some(world.authority.file())).await?;
    engine.sign_up(world.url(), "alice".into(), PASSWORD.into(), "alice".into(), None).await?;
    engine.shutdown().await;
    Ok(())
}
