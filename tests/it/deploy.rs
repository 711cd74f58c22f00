//! Checks that the deployment files agree with the service, with each other, and with the programs that read them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};

use super::support::{
    KEY, KilledOnDrop, Postgres, Server, answered, components, embedding, eventually, key_lines, repository,
    say, voice,
};

/// Returns whether a program is installed, and reports it if not.
fn has(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--help").output().is_ok();
    if !found {
        say(&format!("SKIPPED {test}: {program} is not installed"));
    }
    found
}

fn promtool(arguments: &[&str], input: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input");
    std::fs::write(&file, input).unwrap();
    let output = Command::new("promtool")
        .args(arguments)
        .stdin(std::fs::File::open(file).unwrap())
        .current_dir(repository())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn metrics_and_alerts_are_in_prometheus_conventions() {
    if !has("promtool", "metrics_and_alerts_are_in_prometheus_conventions") {
        return;
    }
    promtool(&["check", "config", "deploy/prometheus/prometheus.yml"], "");
    promtool(&["check", "rules", "deploy/prometheus/alerts.yml"], "");
    let server = Server::start();
    assert_eq!(server.upload(voice()).status(), 200);
    assert_eq!(server.get("/nowhere").send().unwrap().status(), 404);
    promtool(&["check", "metrics"], &server.metrics());
}

/// Returns every PromQL expression of the dashboard.
fn dashboard_expressions() -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("deploy/grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let server = Server::start();
    assert_eq!(server.upload(voice()).status(), 200);
    assert_eq!(server.get("/nowhere").send().unwrap().status(), 404);
    let metrics = server.metrics();
    let alerts = std::fs::read_to_string(repository().join("deploy/prometheus/alerts.yml")).unwrap();
    let texts = [dashboard_expressions(), vec![alerts]].concat();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = texts.iter().flat_map(|text| text.split(|c| !is_part(c)));
    let names: Vec<&str> =
        names.filter(|n| n.starts_with("voice_embedding_") || n.starts_with("process_")).collect();
    assert!(names.len() > 20);
    for name in names {
        let line = metrics
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_part)));
        assert!(line || cfg!(not(target_os = "linux")), "{name}");
    }
}

/// A Prometheus process that is killed on drop.
struct Prometheus {
    _process: KilledOnDrop,
    address: String,
}

impl Prometheus {
    /// Starts Prometheus with our configuration for one server.
    fn start(directory: &Path, target: &str) -> Self {
        let ours = repository().join("deploy/prometheus");
        let configuration = std::fs::read_to_string(ours.join("prometheus.yml")).unwrap();
        let configuration =
            configuration.replace("voice-embedding-service:8000", target).replace("15s", "1s");
        assert!(configuration.contains(target) && configuration.contains("1s"));
        std::fs::write(directory.join("prometheus.yml"), configuration).unwrap();
        std::fs::copy(ours.join("alerts.yml"), directory.join("alerts.yml")).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _process: KilledOnDrop(process), address }
    }

    /// Returns the response of the API, if there is one.
    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        let mut url = url::Url::parse(&format!("http://{}/api/v1/{path}", self.address)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let mut text = String::new();
        client.get(url).send().ok()?.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn query(&self, expression: &str) -> Value {
        self.get("query", &[("query", expression)]).unwrap_or_default()
    }
}

#[test]
fn prometheus_scrapes_the_service_and_answers_the_dashboard() {
    if !has("prometheus", "prometheus_scrapes_the_service_and_answers_the_dashboard") {
        return;
    }
    let server = Server::start();
    assert_eq!(server.upload(voice()).status(), 200);
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(directory.path(), &server.address);
    let is_up = || prometheus.query("up")["data"]["result"][0]["value"][1] == "1";
    eventually(is_up);
    let windows = prometheus.query("voice_embedding_windows_total");
    assert_ne!(windows["data"]["result"][0]["value"][1], "0", "{windows}");
    let rules = prometheus.get("rules", &[]).unwrap();
    assert_eq!(rules["data"]["groups"][0]["rules"].as_array().unwrap().len(), 8, "{rules}");
    for expression in dashboard_expressions() {
        let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        let answer = prometheus.query(&expression);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }
}

fn file(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// Returns the variables that a deployment file sets below a heading, in lines such as `NAME=`, `NAME: ` and `NAME = `.
fn variables(text: &str, heading: &str) -> Vec<String> {
    let rest = text.split_once(heading).unwrap_or_else(|| panic!("no {heading}")).1;
    let name = |line: &str| {
        let line = line.trim();
        let end = line.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(line.len());
        let is_set = line[end..].trim_start().starts_with(['=', ':']);
        (end > 1 && is_set).then(|| line[..end].to_owned())
    };
    let end_of_block = |line: &&str| line.trim().is_empty() || line.trim().starts_with('[');
    let block = rest.lines().skip_while(end_of_block).take_while(|line| !end_of_block(line));
    block.filter_map(name).collect()
}

#[test]
fn deployment_files_agree_with_the_service() {
    let help = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (docker, compose, fly, railway) =
        (file("Dockerfile"), file("docker-compose.yml"), file("fly.toml"), file("railway.json"));
    let (kubernetes, nginx) =
        (file("deploy/kubernetes/deployment.yaml"), file("deploy/nginx/voice-embedding-service.conf"));
    let (readme, release) = (file("README.md"), file(".github/workflows/release.yml"));
    let mut set = variables(&docker, "ENV ");
    set.extend(variables(&compose, "environment:"));
    set.extend(variables(&fly, "[env]"));
    set.extend(kubernetes.split("- name: ").filter_map(|text| {
        let (name, rest) = text.split_once('\n')?;
        rest.trim_start().starts_with("value:").then(|| name.to_owned())
    }));
    assert!(set.len() >= 6, "{set:?}");
    for variable in set {
        assert!(help.contains(&format!("[env: {variable}")), "{variable} is no variable of the service");
    }
    // All files use the same port and path.
    for (name, text, port) in [
        ("Dockerfile", &docker, "EXPOSE 8000"),
        ("Dockerfile", &docker, "PORT=8000"),
        // By default, a container would listen on loopback and be unreachable. With this value, it refuses to start
        // without a key and says why.
        ("Dockerfile", &docker, "HOST=0.0.0.0"),
        ("docker-compose.yml", &compose, "\"8000:8000\""),
        ("fly.toml", &fly, "internal_port = 8000"),
        ("fly.toml", &fly, "PORT = \"8000\""),
        ("fly.toml", &fly, "path = \"/ready\""),
        ("fly.toml", &fly, "destination = \"/data\""),
        ("fly.toml", &fly, "dockerfile = \"Dockerfile\""),
        ("railway.json", &railway, "\"healthcheckPath\": \"/ready\""),
        ("railway.json", &railway, "\"dockerfilePath\": \"Dockerfile\""),
        ("railway.json", &railway, "\"requiredMountPath\": \"/data\""),
        ("docker-compose.yml", &compose, "sqlite:/data/speakers.db"),
        ("docker-compose.yml", &compose, "mem_limit: 1g"),
        ("fly.toml", &fly, "memory = \"1gb\""),
        ("deployment.yaml", &kubernetes, "memory: 1Gi"),
        ("deployment.yaml", &kubernetes, "containerPort: 8000"),
        ("deployment.yaml", &kubernetes, "path: /ready"),
        ("deployment.yaml", &kubernetes, "runAsUser: 10001"),
        ("Dockerfile", &docker, "RUN_AS=10001:10001"),
        ("nginx", &nginx, "listen 8000"),
        ("README.md", &readme, "-p 8000:8000"),
    ] {
        assert!(text.contains(port), "{name}: no {port}");
    }
    serde_json::from_str::<Value>(&railway).unwrap();
    assert!(
        !fly.lines().any(|line| line.starts_with("app = ")),
        "names of apps are unique among all of Fly.io"
    );
    // Fly's proxy sends at most as many requests as the queue takes.
    let number = |name: &str| -> u32 {
        let line = fly.lines().find_map(|line| line.trim().strip_prefix(&format!("{name} = "))).unwrap();
        line.trim_matches('"').parse().unwrap()
    };
    assert_eq!(number("hard_limit"), number("QUEUE_CAPACITY"));
    assert!(
        file("deploy/kubernetes/kustomization.yaml")
            .contains(&format!("newTag: {}", env!("CARGO_PKG_VERSION")))
    );
    let image = release.lines().find_map(|line| line.strip_prefix("  IMAGE: ")).unwrap();
    assert_eq!(readme.matches(image).count(), 1, "README shows the published image once");
    assert!(docker.contains(&format!("image.version=\"{}\"", env!("CARGO_PKG_VERSION"))));
    assert!(docker.contains(&format!("rust:{}-", env!("CARGO_PKG_RUST_VERSION"))));
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// An nginx process that is stopped on drop.
struct Nginx {
    _process: KilledOnDrop,
    address: String,
}

impl Nginx {
    /// Starts nginx with our configuration for two servers.
    fn start(directory: &Path, servers: [&str; 2]) -> Self {
        let address = free_address();
        let mut ours = file("deploy/nginx/voice-embedding-service.conf");
        for (from, to) in [
            ("server 127.0.0.1:8001", format!("server {}", servers[0])),
            ("server 127.0.0.1:8002", format!("server {}", servers[1])),
            ("listen 8000", format!("listen {address}")),
        ] {
            assert!(ours.contains(from), "{from}");
            ours = ours.replace(from, &to);
        }
        Self::run(directory, address, &ours)
    }

    /// Starts nginx with one server that has this location.
    fn serve(directory: &Path, location: &str) -> Self {
        let address = free_address();
        let server = format!("server {{ listen {address}; absolute_redirect off; {location} }}");
        Self::run(directory, address, &server)
    }

    fn run(directory: &Path, address: String, ours: &str) -> Self {
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit; events {{}} \
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path a; \
             uwsgi_temp_path b; scgi_temp_path c; {ours} }}"
        );
        std::fs::write(directory.join("nginx.conf"), configuration).unwrap();
        let process = Command::new("nginx")
            .args(["-p", directory.to_str().unwrap(), "-c", "nginx.conf", "-e", "stderr"])
            .spawn()
            .unwrap();
        let nginx = Self { _process: KilledOnDrop(process), address };
        eventually(|| TcpStream::connect(&nginx.address).is_ok());
        nginx
    }
}

#[test]
fn behind_nginx_a_single_retry_cures_what_a_killed_replica_does() {
    if !has("nginx", "behind_nginx_a_single_retry_cures_what_a_killed_replica_does") {
        return;
    }
    let (mut first, second) = (Server::start(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path(), [&first.address, &second.address]);
    let url = format!("http://{}/extract-embedding", nginx.address);
    let ask = |client: &Client| {
        let request = client.post(&url).header("X-API-Key", KEY).header("Content-Type", "audio/wav");
        request.body(voice()).send().is_ok_and(|answer| answer.status() == 200)
    };
    let (is_done, begun) = (AtomicBool::new(false), Instant::now());
    let [good, failed, failed_twice] = [const { AtomicUsize::new(0) }; 3];
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let client = Client::builder().no_proxy().build().unwrap();
                while !is_done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_mins(1) {
                    let outcome = match ask(&client) {
                        true => &good,
                        false if ask(&client) => &failed,
                        false => &failed_twice,
                    };
                    outcome.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more_are_good = || {
            let before = good.load(Ordering::Relaxed);
            eventually(|| good.load(Ordering::Relaxed) > before + 20);
        };
        more_are_good();
        first.signal("KILL");
        more_are_good();
        // Replaces the killed replica, then stops the other one as a deployment would.
        let port = first.address.rsplit_once(':').unwrap().1.to_owned();
        first.exit_code();
        first = Server::spawn(
            Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
                .args(["serve", "--port", &port])
                .current_dir(repository())
                .env("API_KEY", KEY),
        );
        first.wait_until_ready();
        more_are_good();
        second.signal("TERM");
        more_are_good();
        is_done.store(true, Ordering::Relaxed);
    });
    let [good, failed, failed_twice] = [good, failed, failed_twice].map(AtomicUsize::into_inner);
    say(&format!("behind nginx: {good} answered, {failed} on a second try, {failed_twice} not at all"));
    assert_eq!(failed_twice, 0);
}

#[test]
fn nginx_passes_live_sessions_on() {
    if !has("nginx", "nginx_passes_live_sessions_on") {
        return;
    }
    let servers = [Server::start(), Server::start()];
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path(), [&servers[0].address, &servers[1].address]);
    let mut request = format!("ws://{}/v1/live", nginx.address).into_client_request().unwrap();
    request.headers_mut().insert("X-API-Key", HeaderValue::from_static(KEY));
    let stream = TcpStream::connect(&nginx.address).unwrap();
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    socket.send(Message::binary(vec![0; 64_000])).unwrap();
    socket.send(Message::text(r#"{"type": "end"}"#)).unwrap();
    let mut kinds = Vec::new();
    while let Message::Text(text) = socket.read().unwrap() {
        let event: Value = serde_json::from_str(&text).unwrap();
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["ready", "final"]);
}

/// Counts the requests that reach replicas which read a request and then close the connection.
#[test]
fn nginx_repeats_only_requests_that_store_nothing() {
    if !has("nginx", "nginx_repeats_only_requests_that_store_nothing") {
        return;
    }
    let asked = AtomicUsize::new(0);
    let replicas = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = replicas.each_ref().map(|replica| replica.local_addr().unwrap().to_string());
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path(), addresses.each_ref().map(String::as_str));
    std::thread::scope(|scope| {
        for replica in &replicas {
            scope.spawn(|| {
                while let Ok((mut connection, _)) = replica.accept() {
                    let mut request = [0; 4_096];
                    let n = connection.read(&mut request).unwrap();
                    if request.starts_with(b"END") {
                        return;
                    }
                    asked.fetch_add(usize::from(n > 0), Ordering::Relaxed);
                }
            });
        }
        let client = Client::builder().no_proxy().build().unwrap();
        for (method, path, times) in [
            ("POST", "/extract-embedding", 2),
            ("POST", "/v1/identify", 2),
            ("POST", "/v1/verify", 2),
            ("GET", "/v1/speakers", 2),
            ("POST", "/v1/speakers", 1),
            ("POST", "/v1/speakers/anna/merge", 1),
            ("POST", "/v1/speakers/anna/enrolments", 1),
            ("PATCH", "/v1/speakers/anna", 1),
            ("POST", "/v1/import", 1),
            ("GET", "/v1/export", 1),
            // A repeated deletion has the same result.
            ("DELETE", "/v1/speakers/anna", 2),
        ] {
            asked.store(0, Ordering::Relaxed);
            let url = format!("http://{}{path}", nginx.address);
            let answer = client.request(method.parse().unwrap(), url).body("{}").send().unwrap();
            assert_eq!(
                (answer.status().as_u16(), asked.load(Ordering::Relaxed)),
                (502, times),
                "{method} {path}"
            );
        }
        for address in &addresses {
            TcpStream::connect(address).unwrap().write_all(b"END").unwrap();
        }
    });
}

/// Three processes share one database. A change through one of them is visible to the next request, whichever process gets it.
#[test]
fn behind_nginx_replicas_on_one_database_are_one_service() {
    if !has("nginx", "behind_nginx_replicas_on_one_database_are_one_service") {
        return;
    }
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    let servers = [(); 3].map(|()| Server::start_with(&[("DATABASE_URL", &url)]));
    let upstream = servers.each_ref().map(|server| format!("server {};", server.address)).concat();
    let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
    let ours = format!(
        "upstream replicas {{ {upstream} }} server {{ listen {address}; location / {{ proxy_pass http://replicas; }} }}"
    );
    let nginx = Nginx::run(directory.path(), address, &ours);
    let client = Client::builder().no_proxy().build().unwrap();
    let ask = |method: &str, path: &str, body: &Value| {
        let request = client.request(method.parse().unwrap(), format!("http://{}{path}", nginx.address));
        request.header("X-API-Key", KEY).json(body).send().unwrap()
    };
    for seed in 0..30 {
        let id = format!("s{seed}");
        let voice = embedding(&components(seed), Some(5.0));
        answered(201, ask("POST", "/v1/speakers", &json!({"id": id, "voices": [voice]})));
        let found = answered(200, ask("POST", "/v1/identify", &json!({"voice": voice})));
        assert_eq!((&found["speaker"], &found["searched"]), (&json!(id), &json!(1)));
        assert_eq!(ask("DELETE", &format!("/v1/speakers/{id}"), &json!({})).status(), 204);
        let found = answered(200, ask("POST", "/v1/identify", &json!({"voice": voice})));
        assert_eq!(found["reason"], "empty_collection");
    }
    for server in &servers {
        let metrics = server.metrics();
        assert!(metrics.contains("route=\"/v1/identify\""), "each has had its share");
    }
}

#[test]
fn kubernetes_manifests_are_valid() {
    if !has("kubectl", "kubernetes_manifests_are_valid") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("kubernetes");
    let copied =
        Command::new("cp").arg("-R").arg(repository().join("deploy/kubernetes")).arg(&folder).status();
    assert!(copied.unwrap().success());
    std::fs::write(folder.join("keys"), key_lines("ios", "abc", "[\"admin\"]")).unwrap();
    let build = || {
        let output = Command::new("kubectl").arg("kustomize").arg(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = build();
    let kustomization = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    let build_with = |components: &[&str]| {
        let mut edited = kustomization.replacen("#components:", "components:", 1);
        for component in components {
            let line = format!("\n#  - {component}\n");
            assert!(edited.contains(&line), "{component}");
            edited = edited.replace(&line, &format!("\n  - {component}\n"));
        }
        std::fs::write(folder.join("kustomization.yaml"), edited).unwrap();
        build()
    };
    let kept = build_with(&["postgres"]);
    let all = build_with(&["network-policy", "monitoring", "postgres"]);
    assert!(kept.contains("name: voice-embedding-service-database"), "{kept}");
    assert!(all.contains("port: 5432") && all.contains("name: voice_embedding_queue_depth"), "{all}");
    for (kind, in_plain) in [
        ("Deployment", true),
        ("Service", true),
        ("PodDisruptionBudget", true),
        ("HorizontalPodAutoscaler", true),
        ("Secret", true),
        ("NetworkPolicy", false),
        ("ServiceMonitor", false),
    ] {
        assert_eq!(plain.contains(&format!("\nkind: {kind}\n")), in_plain, "{kind}");
        assert!(all.contains(&format!("\nkind: {kind}\n")), "{kind}");
    }
    if !has("kubernetes-validate", "kubernetes_manifests_are_valid, as far as schemas go,") {
        return;
    }
    for (name, manifests) in [("plain.yaml", plain), ("kept.yaml", kept), ("all.yaml", all)] {
        std::fs::write(directory.path().join(name), manifests).unwrap();
        let mut validate = Command::new("kubernetes-validate");
        let output = validate.args(["--strict", name]).current_dir(&directory).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

/// A proxy may offer the service below a path, beside other services.
#[test]
fn behind_a_path_prefix_pages_and_redirects_lead_on() {
    if !has("nginx", "behind_a_path_prefix_pages_and_redirects_lead_on") {
        return;
    }
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let upstream = format!("location /voice/ {{ proxy_pass http://{}/; }}", server.address);
    let nginx = Nginx::serve(directory.path(), &upstream);
    let url = |path: &str| format!("http://{}/voice{path}", nginx.address);
    let client = Client::builder().no_proxy().build().unwrap();
    for (path, leads_to) in [
        ("/", "/"),
        ("/app/main.js", "/app/main.js"),
        ("/docs", "/docs/"),
        ("/redoc/", "/redoc"),
        ("/health/", "/health"),
        ("/v1/models/", "/v1/models"),
    ] {
        let answer = client.get(url(path)).header("X-API-Key", KEY).send().unwrap();
        assert_eq!((answer.status().as_u16(), answer.url().as_str()), (200, &*url(leads_to)), "{path}");
    }
    // Swagger UI resolves the server's URL relative to the document, which is in the parent folder.
    let settings = client.get(url("/docs/swagger-initializer.js")).send().unwrap().text().unwrap();
    assert!(settings.contains("\"../openapi.json\""), "{settings}");
    let document: Value = client.get(url("/openapi.json")).send().unwrap().json().unwrap();
    let base = reqwest::Url::parse(&url("/openapi.json")).unwrap();
    let base = base.join(document["servers"][0]["url"].as_str().unwrap()).unwrap();
    let upload = base.join("extract-embedding").unwrap();
    assert_eq!(upload.as_str(), url("/extract-embedding"));
    let request = client.post(upload).header("X-API-Key", KEY).header("Content-Type", "audio/wav");
    assert_eq!(request.body(voice()).send().unwrap().status(), 200);
}

#[test]
fn the_systemd_unit_is_valid_and_hardened() {
    if !has("systemd-analyze", "the_systemd_unit_is_valid_and_hardened") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("voice-embedding-service.service");
    let installed = "/usr/local/bin/voice-embedding-service";
    let text = file("deploy/systemd/voice-embedding-service.service");
    assert!(text.contains(installed));
    std::fs::write(&unit, text.replace(installed, env!("CARGO_BIN_EXE_voice-embedding-service"))).unwrap();
    // The threshold is an exposure score from 0 to 100. Failures print the reasons.
    for arguments in [&["verify"][..], &["security", "--offline=true", "--threshold=15", "--no-pager"]] {
        let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{arguments:?}: {said}");
        assert!(arguments[0] != "verify" || said.is_empty(), "{said}");
    }
}
