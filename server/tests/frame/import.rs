//! `kith-server user import`: a platform brings its people.

use crate::{
    command_line::{run, stderr},
    support::{Inside, PASSWORD, World},
};
use kith_protocol::{ErrorCode, api::Session};
use std::{collections::HashSet, path::Path, process::Output};

async fn import(world: &World, arguments: &[&str], input: &str) -> Output {
    let arguments = [&["user", "import"], arguments].concat();
    run(&arguments, Some(world.server.database_url()), input).await
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn usernames(world: &World) -> Vec<String> {
    sqlx::query_scalar("SELECT username FROM users ORDER BY username")
        .fetch_all(&world.server.pool)
        .await
        .unwrap()
}

fn sessions(path: &Path) -> Vec<Session> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn people_of_a_file_have_accounts_and_importing_again_changes_nothing() {
    let world = World::start().await;
    let old = world.person("bob").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.csv");
    let people = format!(
        "username,display_name,email,password\nada,Ada Lovelace,ada@example.org,{PASSWORD}\nbob,Robert,,\ncyd,,,\n"
    );
    std::fs::write(&file, people).unwrap();
    let file = file.to_str().unwrap();

    let dry = stdout(&import(&world, &[file, "--dry-run"], "").await);
    assert!(dry.contains("2 accounts would be added") && dry.contains("  bob\n"), "{dry}");
    assert_eq!(usernames(&world).await, ["bob"]);

    let said = stdout(&import(&world, &[file], "").await);
    assert!(said.contains("2 accounts added") && said.contains("1 account there already"), "{said}");
    assert!(said.contains("1 of them without a password"), "{said}");
    let ada = world.sign_in("ada").await;
    assert_eq!(
        (ada.user.display_name.as_str(), ada.user.email.as_deref()),
        ("Ada Lovelace", Some("ada@example.org"))
    );
    assert_eq!(world.sign_in("bob").await.user.display_name, "bob", "left as it was");
    assert!(world.is_live(&old).await);

    let again = stdout(&import(&world, &[file], "").await);
    assert!(again.contains("0 accounts added") && again.contains("3 accounts there already"), "{again}");
    assert_eq!(usernames(&world).await, ["ada", "bob", "cyd"]);
    world.sign_in("ada").await;
}

#[tokio::test]
async fn a_file_with_a_wrong_line_adds_nobody_and_is_not_quoted() {
    let world = World::start().await;
    let input = "{\"username\":\"ada\"}\n{\"username\":\"bob\",\"password\":\"sunshine\"}\n\
                 {\"username\":\"Cyd\",\"password\":\"a hidden gem of mine\"}\n{\"username\":\"dan\" \"a hidden gem\"}\n";
    let output = import(&world, &["-"], input).await;
    assert!(!output.status.success());
    let said = stderr(&output);
    for wanted in
        ["standard input:2: the password is too easy", "input:3: a user name has", "input:4: no JSON"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(said.contains("nobody was added: correct 3 faults"), "{said}");
    assert!(!said.contains("hidden") && !said.contains("sunshine") && output.stdout.is_empty(), "{said}");
    assert!(usernames(&world).await.is_empty());
}

#[tokio::test]
async fn sec_005_a_guess_at_an_account_without_a_password_costs_what_any_guess_costs() {
    let world = World::start().await;
    stdout(&import(&world, &["-", "--format", "csv"], "username\nada\nbob\n").await);
    let hashes: Vec<String> = sqlx::query_scalar("SELECT DISTINCT password_hash FROM users")
        .fetch_all(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(hashes.len(), 1, "two people cost one hash");
    let inside = Inside::of(&world).await;
    for password in ["", "ada", "nobody's password", PASSWORD, &hashes[0]] {
        let before = inside.state.passwords.computed();
        let answer = inside.sign_in("192.0.2.1", "ada", password, None).await;
        answer.refused(401, ErrorCode::CredentialsInvalid);
        assert_eq!(inside.state.passwords.computed() - before, 1, "{password:?}");
    }
    let url = Some(world.server.database_url());
    let output = run(&["user", "passwd", "ada", "--password-stdin"], url, &format!("{PASSWORD}\n")).await;
    assert!(output.status.success(), "{}", stderr(&output));
    world.sign_in("ada").await;
    world.try_sign_in("bob", PASSWORD).await.refused(401, ErrorCode::CredentialsInvalid);
}

#[tokio::test]
async fn sessions_of_new_accounts_work_as_after_a_sign_in_and_nobody_elses_are_made() {
    let world = World::start().await;
    world.person("pat").await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sessions.jsonl");
    let path = out.to_str().unwrap();
    let people: String = (0..2_500).map(|number| format!("{{\"username\":\"p{number:02}\"}}\n")).collect();
    let said = stdout(
        &import(&world, &["-", "--sessions", path], &format!("{people}{{\"username\":\"patx\"}}\n")).await,
    );
    assert!(said.contains("2501 accounts added"), "{said}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let all = sessions(&out);
    assert_eq!(all.iter().map(|one| one.user.id).collect::<HashSet<_>>().len(), 2_501);
    for session in [&all[0], &all[2_000]] {
        assert!(world.is_live(session).await);
        let renewed = world.refresh(session).await.session();
        assert_eq!((renewed.user.id, renewed.device.id), (session.user.id, session.device.id));
        assert!(world.is_live(&renewed).await);
    }

    let refused = import(&world, &["-", "--sessions", path], "{\"username\":\"late\"}\n").await;
    assert!(!refused.status.success() && stderr(&refused).contains("must not exist"), "{}", stderr(&refused));
    assert_eq!(sessions(&out).len(), 2_501, "left as it was");
    assert!(!usernames(&world).await.contains(&"late".to_owned()));

    let other = folder.path().join("others.jsonl");
    let arguments = ["-", "--sessions", other.to_str().unwrap()];
    stdout(&import(&world, &arguments, "{\"username\":\"pat\"}\n{\"username\":\"late\"}\n").await);
    let names: Vec<_> = sessions(&other).into_iter().map(|one| one.user.username).collect();
    assert_eq!(names, ["late"], "whoever was there is not impersonated");
}

/// What cannot be kept is not made.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_account_without_the_session_that_was_asked_for() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.jsonl");
    let mut child = std::process::Command::new("bash");
    // A file may have no byte: as a full disk.
    child.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kith-server")]);
    child
        .args(["user", "import", "--format", "jsonl"])
        .arg(folder.path().join("people"))
        .arg("--sessions")
        .arg(&path);
    std::fs::write(folder.path().join("people"), "{\"username\":\"ada\"}\n").unwrap();
    child.env("DATABASE_URL", world.server.database_url());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(!output.status.success() && stderr(&output).contains("nobody was added"), "{}", stderr(&output));
    assert!(usernames(&world).await.is_empty());
    assert!(!path.exists());
}
