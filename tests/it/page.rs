//! The page at `/`: the files that the service serves for it. `make browser` tests its behaviour.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use reqwest::blocking::Client;

use super::support::{Server, files_under, repository};

/// The size limits of all files together, compressed, and of the sample voices.
const MAX_BYTES: usize = 60_000;
const MAX_VOICES_BYTES: usize = 200_000;

/// Returns the page's files by the paths at which they are served.
fn files() -> BTreeMap<String, Vec<u8>> {
    let pages = repository().join("src/http/pages");
    let file = |path: PathBuf| {
        let name = path.strip_prefix(&pages).unwrap().to_str().unwrap();
        let at = if name == "app/index.html" { "/".to_owned() } else { format!("/{name}") };
        (at, std::fs::read(&path).unwrap())
    };
    let all = [files_under(pages.join("app")), files_under(pages.join("app/voices"))].concat();
    all.into_iter().filter(|path| path.is_file()).map(file).collect()
}

#[test]
fn every_file_is_served_compressed_or_not_and_may_load_nothing_from_elsewhere() {
    let server = Server::start();
    let client = Client::builder().no_proxy().build().unwrap();
    let (mut n_bytes, mut n_voices_bytes) = (0, 0);
    for (path, file) in files() {
        let packed = client.get(server.url(&path)).header("Accept-Encoding", "gzip").send().unwrap();
        assert_eq!(packed.status(), 200, "{path}");
        let headers = packed.headers().clone();
        assert_eq!(headers["content-encoding"], "gzip", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["cache-control"], "no-cache", "{path}");
        let packed = packed.bytes().unwrap();
        let of_voices = path.starts_with("/app/voices/");
        *(if of_voices { &mut n_voices_bytes } else { &mut n_bytes }) += packed.len();
        let mut unpacked = Vec::new();
        GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == file, "{path}");

        let plain = client.get(server.url(&path)).send().unwrap();
        assert!(!plain.headers().contains_key("content-encoding"), "{path}");
        assert_eq!(plain.headers()["content-type"], headers["content-type"], "{path}");
        assert!(plain.bytes().unwrap() == file, "{path}");
    }
    assert!(n_bytes < MAX_BYTES, "{n_bytes} bytes");
    assert!(n_voices_bytes < MAX_VOICES_BYTES, "{n_voices_bytes} bytes");
}

#[test]
fn without_the_page_the_root_leads_to_the_documentation() {
    let server = Server::start_with(&[("PAGE", "off")]);
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let root = client.get(server.url("/")).send().unwrap();
    assert_eq!((root.status().as_u16(), &root.headers()["location"]), (307, &"docs/".parse().unwrap()));
    assert_eq!(client.get(server.url("/app/main.js")).send().unwrap().status(), 404);
}
