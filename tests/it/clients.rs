//! Runs clients against a server: the documented ones, and those written for the Python service.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::{KEY, Server, fixture, parity_data, repository, say, voice_samples, wav};

/// Returns the fenced blocks of a language in a Markdown file.
fn blocks(markdown: &Path, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(markdown).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Returns a client's code with this server's address and key in place of the documented ones.
fn addressed(code: &str, server: &Server) -> String {
    code.replace("http://localhost:8000", &server.url(""))
        .replace("dev-key-change-me", KEY)
        .replace("your-secret-api-key", KEY)
        .replace("your-api-key", KEY)
}

/// Creates a folder with the files that the documented clients read. The files are short, because a shell may pass their
/// base64 as an argument, and Linux allows 128 KiB for it.
fn recordings() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let clip = wav(voice_samples()[..40_000].to_vec());
    for name in ["speaker1.wav", "speaker2.wav", "voice.wav", "sample.wav", "audio.wav"] {
        std::fs::write(directory.path().join(name), &clip).unwrap();
    }
    directory
}

/// Returns a command that runs Python.
fn python_program() -> Command {
    Command::new(std::env::var_os("PYTHON").map_or("python3".into(), PathBuf::from))
}

/// Returns a Python command with `requests`, if `make setup` has installed it.
fn python(test: &str) -> Option<Command> {
    let packages = repository().join("target/python");
    if !packages.join("requests").is_dir() {
        say(&format!("SKIPPED {test}: `make setup` installs the Python package requests"));
        return None;
    }
    let mut python = python_program();
    python.env("PYTHONPATH", packages).env("NO_PROXY", "127.0.0.1");
    Some(python)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}{err}");
    out.into_owned()
}

fn check_python_client(markdown: &Path, directory: &Path, test: &str) {
    let Some(mut python) = python(test) else { return };
    let code = blocks(markdown, "python").into_iter().find(|block| block.contains("requests")).unwrap();
    let server = Server::start();
    let output = run(python.current_dir(directory).args(["-c", &addressed(&code, &server)]));
    assert!(output.contains("True"), "{output}");
}

#[test]
fn the_documented_python_client_works() {
    check_python_client(
        &repository().join("docs/clients.md"),
        repository(),
        "the_documented_python_client_works",
    );
}

#[test]
fn the_python_client_of_the_python_service_works_unchanged() {
    const TEST: &str = "the_python_client_of_the_python_service_works_unchanged";
    if let Some(data) = parity_data(TEST) {
        check_python_client(&data.join("seed.md"), recordings().path(), TEST);
    }
}

/// Runs each `curl` command in a file's shell blocks that this test can complete. Each must return JSON without `detail`.
fn check_curl_lines(markdown: &Path, directory: &Path) {
    if Command::new("curl").arg("--version").output().is_err() {
        say("SKIPPED the curl lines: there is no curl");
        return;
    }
    let server = Server::start();
    let mut n_run = 0;
    for block in blocks(markdown, "bash") {
        // A block that abbreviates embeddings or audio is not a complete command.
        let is_complete =
            block.contains("curl") && !block.contains("...") && block.contains("localhost:8000");
        let needs_body = block.contains("http://localhost:8000/extract-embedding\n");
        if !is_complete || needs_body {
            continue;
        }
        let script = addressed(&block.replace("curl ", "curl -sS "), &server);
        let mut bash = Command::new("bash");
        bash.current_dir(directory).env("NO_PROXY", "127.0.0.1").args(["-euc", &script]);
        let output = run(&mut bash);
        for answer in serde_json::Deserializer::from_str(&output).into_iter::<Value>() {
            let answer = answer.unwrap_or_else(|e| panic!("{script}: {e}: {output}"));
            assert!(answer.get("detail").is_none(), "{script}: {answer}");
            n_run += 1;
        }
    }
    assert!(n_run >= 3, "{n_run} answers");
}

#[test]
fn the_documented_curl_lines_work() {
    for page in ["docs/clients.md", "docs/migration.md"] {
        check_curl_lines(&repository().join(page), repository());
    }
}

/// Programs whose commands a test cannot run.
const NOT_RUN: [&str; 2] = ["docker", "make"];

/// Tests the pages in reading order, with one server and its database.
#[test]
fn every_documented_command_works_in_order() {
    let pages =
        ["README.md", "docs/speakers.md", "docs/diarization.md", "docs/models.md", "docs/command-line.md"];
    if !["curl", "jq"].iter().all(|program| Command::new(program).arg("--version").output().is_ok()) {
        say("SKIPPED every_documented_command_works_in_order: curl or jq is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["assets", "tests"] {
        std::os::unix::fs::symlink(repository().join(name), folder.path().join(name)).unwrap();
    }
    let database = format!("sqlite:{}", folder.path().join("speakers.db").display());
    let server = Server::start_with(&[("MODELS", ""), ("DATABASE_URL", &database)]);
    let program = Path::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    for page in pages {
        // Variables that a block exports also apply to later blocks.
        let mut script = String::new();
        for block in blocks(&repository().join(page), "bash") {
            let first = block.split_whitespace().next().unwrap();
            if !NOT_RUN.contains(&first) {
                script += &addressed(&block.replace("curl ", "curl -sS --fail-with-body "), &server);
            }
        }
        assert!(script.matches("voice-embedding-service ").count() >= 1, "{page}");
        let mut bash = Command::new("bash");
        bash.current_dir(&folder).env("PATH", &path).env("DATABASE_URL", &database).env_remove("MODELS");
        run(bash.env("NO_PROXY", "127.0.0.1").args(["-euxo", "pipefail", "-c", &script]));
    }
}

/// Only parses the Swift code, because running it needs Apple's toolchain or a separate one.
#[test]
fn the_documented_swift_client_parses() {
    let packages = repository().join("target/sdks/python");
    if !packages.join("tree_sitter_swift").is_dir() {
        say("SKIPPED the_documented_swift_client_parses: `make sdks` installs tree-sitter-swift from PyPI");
        return;
    }
    let count_errors = |code: &str| {
        let mut python = python_program();
        python.env("PYTHONPATH", &packages).arg(repository().join("tests/sdks/parse_swift.py"));
        run(python.arg(code)).trim().to_owned()
    };
    let code = blocks(&repository().join("docs/clients.md"), "swift").concat();
    assert_eq!(count_errors(&code), "0 errors");
    assert_ne!(count_errors("func broken( {"), "0 errors");
}

/// Runs the TypeScript code for Node without its types. The function for browsers is only compiled.
#[test]
fn the_documented_typescript_clients_work() {
    let packages = repository().join("target/sdks/node");
    if !packages.join("node_modules/typescript").is_dir() {
        say("SKIPPED the_documented_typescript_clients_work: `make sdks` installs typescript from npm");
        return;
    }
    let server = Server::start_with(&[("MODELS", "")]);
    let address = server.address.as_str();
    let outputs = blocks(&repository().join("docs/clients.md"), "ts").into_iter().map(|code| {
        let code = addressed(&code, &server).replace("localhost:8000", address);
        let mut node = Command::new("node");
        node.env("SDK_FOLDER", &packages).current_dir(repository());
        run(node
            .args(["--no-warnings", "--experimental-websocket", "tests/sdks/run_typescript.mjs"])
            .arg(&code))
    });
    let outputs: Vec<String> = outputs.collect();
    assert_eq!(outputs.len(), 3);
    assert!(outputs[0].contains("192") && outputs[0].contains(" true"), "{}", outputs[0]);
    assert!(outputs[0].contains("Shall we start?"), "{}", outputs[0]);
    assert!(outputs[2].contains("S1 ") && outputs[2].contains("final 1"), "{}", outputs[2]);
}

#[test]
fn the_curl_lines_of_the_python_service_work_unchanged() {
    if let Some(data) = parity_data("the_curl_lines_of_the_python_service_work_unchanged") {
        check_curl_lines(&data.join("seed.md"), recordings().path());
    }
}

/// The `Codable` structs in Swift clients of the Python service need integers without a fraction, numbers and booleans.
#[test]
fn swift_can_decode_the_answers() {
    let server = Server::start();
    let extracted: Value = server.upload(wav(voice_samples())).json().unwrap();
    assert!(extracted["dimension"].is_u64());
    assert!(extracted["embedding"].as_array().unwrap().iter().all(Value::is_number));
    // `JSONSerialization` writes a `[Float]` as the nearest doubles.
    let widened: Vec<f64> = extracted["embedding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| f64::from(c.as_f64().unwrap() as f32))
        .collect();
    let body = serde_json::json!({"embedding1": widened, "embedding2": widened}).to_string();
    let compared: Value = server.post_json("/compare-embeddings", body).json().unwrap();
    assert!(compared["similarity"].is_number() && compared["is_same_speaker"] == true, "{compared}");
}

/// Runs a program of `tests/sdks` against a server. The program fails if a response is wrong.
fn check_sdk(program: &mut Command) -> String {
    let server = Server::start();
    let clips = ["alan-1", "beth-1"].map(|name| fixture(&format!("audio/{name}.wav")));
    run(program.args([&server.url(""), KEY]).args(clips).env("NO_PROXY", "127.0.0.1"))
}

#[test]
fn openais_python_sdk_and_langchain_work_unchanged() {
    let packages = repository().join("target/sdks/python");
    if !packages.join("openai").is_dir() {
        say("SKIPPED openais_python_sdk_and_langchain_work_unchanged: `make sdks` installs openai from PyPI");
        return;
    }
    let python = || {
        let mut python = python_program();
        python.env("PYTHONPATH", &packages).env("NO_PROXY", "127.0.0.1").current_dir(repository());
        python
    };
    let documented = blocks(&repository().join("docs/clients.md"), "python");
    let example = documented.iter().find(|block| block.contains("import OpenAI")).unwrap();
    let server = Server::start();
    assert_eq!(run(python().args(["-c", &addressed(example, &server)])).trim(), "256");

    let output = check_sdk(python().arg("tests/sdks/openai_python.py"));
    assert!(output.contains("openai works"), "{output}");
    if !output.contains("langchain_openai works") {
        say(
            "SKIPPED LangChain's part of openais_python_sdk_and_langchain_work_unchanged: it is not installed",
        );
    }
}

#[test]
fn openais_node_sdk_works_unchanged() {
    let packages = repository().join("target/sdks/node");
    if !packages.join("node_modules/openai").is_dir() {
        say("SKIPPED openais_node_sdk_works_unchanged: `make sdks` installs openai from npm");
        return;
    }
    let script = repository().join("tests/sdks/openai_node.mjs");
    let output = check_sdk(Command::new("node").env("SDK_FOLDER", &packages).arg(script));
    assert!(output.contains("openai works"), "{output}");
}

/// Returns a command of the OpenAPI tools that `make sdks` installs, or `None` if they are not installed.
fn openapi_tool(test: &str, module: &str) -> Option<Command> {
    let packages = repository().join("target/sdks/openapi");
    if !packages.join(module.replace('.', "/")).exists() {
        say(&format!("SKIPPED {test}: `make sdks` installs {module} from PyPI"));
        return None;
    }
    let mut python = python_program();
    python.env("PYTHONPATH", packages).env("NO_PROXY", "127.0.0.1").args(["-m", module]);
    Some(python)
}

#[test]
fn the_openapi_document_is_valid_and_clients_are_made_of_it() {
    const TEST: &str = "the_openapi_document_is_valid_and_clients_are_made_of_it";
    let folder = tempfile::tempdir().unwrap();
    let (document, client) = (folder.path().join("openapi.json"), folder.path().join("client"));
    let server = Server::start();
    std::fs::write(&document, server.get("/openapi.json").send().unwrap().text().unwrap()).unwrap();
    if let Some(mut validator) = openapi_tool(TEST, "openapi_spec_validator") {
        assert!(run(validator.arg(&document)).contains("OK"));
    }
    if let Some(mut generator) = openapi_tool(TEST, "openapi_python_client") {
        let made =
            run(generator.args(["generate", "--path"]).arg(&document).arg("--output-path").arg(&client));
        assert!(!made.contains("parsing"), "something was left out: {made}");
        let packages = [repository().join("target/sdks/openapi"), client.clone()];
        let mut python = python_program();
        python.env("PYTHONPATH", std::env::join_paths(packages).unwrap());
        let output = check_sdk(python.arg(repository().join("tests/sdks/generated_client.py")));
        assert!(output.contains("the generated client works"), "{output}");
    }
    let generator = repository().join("target/sdks/node/node_modules/openapi-typescript/bin/cli.js");
    if generator.is_file() {
        let types = folder.path().join("types.ts");
        run(Command::new("node").arg(generator).arg(&document).arg("--output").arg(&types));
        let types = std::fs::read_to_string(types).unwrap();
        assert!(types.contains("\"no_speech\"") && types.contains("\"/v1/embeddings\""), "{types}");
    } else {
        say(&format!("SKIPPED the types of {TEST}: `make sdks` installs openapi-typescript from npm"));
    }
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(mut schemathesis) = openapi_tool("schemathesis_finds_nothing", "schemathesis.cli") else {
        return;
    };
    let seconds = std::env::var("SCHEMATHESIS_SECONDS").unwrap_or_else(|_| "60".into());
    let server = Server::start();
    let packages = [repository().join("target/sdks/openapi"), repository().join("tests/sdks")];
    let output = schemathesis
        .env("PYTHONPATH", std::env::join_paths(packages).unwrap())
        .arg("--config-file")
        .arg(repository().join("tests/sdks/schemathesis.toml"))
        .arg("run")
        .arg(server.url("/openapi.json"))
        .args(["--url", &server.url(""), "--header", &format!("X-API-Key: {KEY}")])
        .args(["--max-time", &seconds, "--no-color"])
        // Schemathesis writes examples of failures to its working directory.
        .current_dir(tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("Tested: 33"), "{report}");
}
