//! The service `database` of the compose story: a PostgreSQL of this machine instead of the image, prepared by the same script.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::process::{Background, background, built, command, root, run_quiet};

/// As compose.yaml tells the operator to write it, but for the password.
pub const URL: &str = "postgres://kith_server:%s@localhost/kith_server?host=/run/postgresql";
/// It guards a database that lives for a minute.
const PASSWORD: &str = "5f0c2ab7d1";
/// The server's role, and its database.
const ROLE: &str = "kith_server";
/// The superuser of [`kith_pgbox`](../../../pgbox).
const SUPERUSER: &str = "kith";

/// A cluster as `deploy/database.sh` leaves it.
pub struct Database {
    sockets: PathBuf,
    home: PathBuf,
    process: Background,
}

impl Database {
    pub fn start(dir: &Path) -> Result<Self> {
        let dir = dir.join("postgres");
        let mut pgbox = background(built("kith-pgbox"));
        pgbox.arg(&dir).args(["--throwaway", "--database", "postgres"]).stdin(Stdio::piped());
        let (process, url) = Background::start_and_hear("PostgreSQL", &mut pgbox)?;
        let sockets =
            url.split_once("host=").map(|(_, host)| host.replace("%2F", "/")).context("a socket")?;
        // As root the cluster may lie elsewhere; the note says where.
        let note = fs::read_to_string(dir.join("LOCATION.txt")).unwrap_or_default();
        let home = note.lines().nth(1).map_or(dir, PathBuf::from);
        let database = Self { sockets: sockets.into(), home, process };
        database.open_the_socket()?;
        let script = root().join("deploy").join("database.sh");
        let mut prepare = database.client(script);
        run_quiet(prepare.env("POSTGRES_PASSWORD", PASSWORD).env("POSTGRES_USER", SUPERUSER))?;
        run_quiet(&mut database.question(SUPERUSER, "postgres", "SELECT pg_reload_conf()"))?;
        database.lets_in_only_its_role()?;
        Ok(database)
    }

    /// As in the image anybody may come to the socket; from here on it is passwords that are asked for.
    fn open_the_socket(&self) -> Result<()> {
        fs::set_permissions(&self.sockets, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(self.sockets.join(".s.PGSQL.5432"), fs::Permissions::from_mode(0o777))
            .context("opening PostgreSQL's socket")
    }

    /// The server's role comes by its password and is no superuser; everybody else stays outside.
    fn lets_in_only_its_role(&self) -> Result<()> {
        let mut own = self.question(ROLE, ROLE, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user");
        let is_superuser = run_quiet(own.env("PGPASSWORD", PASSWORD))?;
        ensure!(is_superuser.trim() == "f", "the server's role is a superuser: {is_superuser}");
        for (user, database) in [(ROLE, ROLE), (SUPERUSER, "postgres"), (ROLE, "postgres")] {
            let mut other = self.question(user, database, "SELECT 1");
            let came_in = other.env("PGPASSWORD", "another").output()?.status.success();
            ensure!(!came_in, "{user} came into {database} without its password");
        }
        Ok(())
    }

    fn question(&self, user: &str, database: &str, sql: &str) -> Command {
        let mut psql = self.client("psql");
        psql.args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align"]);
        psql.args(["--username", user, "--dbname", database, "--command", sql]);
        psql
    }

    /// The folder of the socket.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut client = command(program);
        client.env("PGHOST", &self.sockets).env("PGDATA", self.home.join("data"));
        client
    }
}

/// For this container alone.
const SECRET_KEY: &str = "3b1f0c9ad27e4586b1f03c9ad27e4586";

impl Drop for Database {
    fn drop(&mut self) {
        self.process.end();
        // What lies below the stage's folder goes with it.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Writes the server's secrets as the head of compose.yaml says: for its user alone.
pub fn secret(_: &Database, dir: &Path) -> Result<()> {
    let secrets = dir.join("secrets");
    fs::create_dir(&secrets)?;
    for (name, content) in
        [("database_url", URL.replace("%s", PASSWORD)), ("secret_key", SECRET_KEY.to_owned())]
    {
        let path = secrets.join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400))?;
        chown(&path, Some(super::USER), None).context("giving the secret to the container's user")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_compose_file_tells_the_same_address() {
        let compose = std::fs::read_to_string(crate::process::root().join("compose.yaml")).unwrap();
        assert!(compose.contains(super::URL));
    }
}
