//! The bus through TLS: what is sent over it, and which certificates are believed.

use super::*;
use crate::support::{World, message};
use futures_util::StreamExt;
use kith_server::testing::TestServer;
use std::path::Path;

/// NATS that demands TLS, with a certificate that no authority has signed.
struct Locked {
    address: SocketAddr,
    ca_file: PathBuf,
    _dir: tempfile::TempDir,
    _child: Child,
}

impl Locked {
    async fn start(host: &str) -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let (ca_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
        let address = free();
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--user", "kith", "--pass", "sesame", "--tls"]);
        command.arg("--tlscert").arg(&ca_file).arg("--tlskey").arg(&key_file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        until_listening(address).await;
        Some(Self { address, ca_file, _dir: dir, _child: child })
    }

    fn url(&self) -> String {
        format!("tls://kith:sesame@{}", self.address)
    }

    /// Whether `kith-server doctor` reaches it, and what it says.
    async fn doctor(&self, database: &str, ca_file: Option<&Path>) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kith-server"));
        command.args(["doctor", "--listen", "127.0.0.1:0", "--bus", &self.url()]);
        command.env("DATABASE_URL", database);
        if let Some(file) = ca_file {
            command.arg("--bus-ca-file").arg(file);
        }
        let text = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
        (text.contains("ok    the bus at tls://***@127.0.0.1"), text)
    }
}

#[tokio::test]
async fn sec_092_l4_the_bus_is_believed_by_its_certificate_alone() {
    let (Some(good), Some(of_another)) =
        (Locked::start("127.0.0.1").await, Locked::start("bus.example.org").await)
    else {
        return;
    };
    let world = World::start().await;
    let database = world.server.database_url();
    let (is_well, text) = good.doctor(database, Some(&good.ca_file)).await;
    assert!(is_well, "{text}");
    let (is_well, text) = good.doctor(database, None).await;
    assert!(!is_well && text.contains("BAD   the bus at"), "an unknown authority: {text}");
    let (is_well, text) = of_another.doctor(database, Some(&of_another.ca_file)).await;
    assert!(!is_well && text.contains("BAD   the bus at"), "another host's certificate: {text}");
}

#[tokio::test]
async fn l4_events_go_over_the_bus_through_tls() {
    let Some(nats) = Locked::start("127.0.0.1").await else { return };
    let bus = BusConfig {
        url: nats.url().parse().unwrap(),
        prefix: "kith-test".to_owned(),
        ca_file: Some(nats.ca_file.clone()),
    };
    let config = Config { bus: Some(bus), ..Config::for_tests() };
    let world = World::start_with(config.clone()).await;
    let database = world.server.database_url();
    let other = TestServer::start_on(database, database, None, config).await.unwrap();
    let listener = async_nats::ConnectOptions::new()
        .user_and_password("kith".to_owned(), "sesame".to_owned())
        .require_tls(true)
        .add_root_certificates(nats.ca_file.clone())
        .connect(format!("tls://{}", nats.address))
        .await
        .unwrap();
    let mut heard = listener.subscribe("kith-test.>").await.unwrap();
    listener.flush().await.unwrap();
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    // Events are sent to instances that hold somebody whom they concern.
    let _there = bo.at(other.address).online().await;
    let chat = line.start_chat(bo.user, "1").await;
    // What is said before the server has connected is lost, so it says it until it is heard.
    let hearing = async {
        loop {
            line.ok(chat, message("through tls")).await;
            while let Ok(Some(said)) = timeout(Duration::from_millis(500), heard.next()).await {
                if String::from_utf8_lossy(&said.payload).contains("through tls") {
                    return;
                }
            }
        }
    };
    timeout(STARTED_WITHIN, hearing).await.expect("the event goes over the bus");
}
