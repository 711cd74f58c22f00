//! Accepts only requests from this machine while the default key is in use, judging by their headers. Otherwise, a web
//! page whose host name resolves to 127.0.0.1 (DNS rebinding) could use the default key.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::Response;
use url::{Host, Url};

use crate::config::CorsOrigins;
use crate::http::error::ApiError;

/// The check of requests while the default key is in use. With another key, the check accepts all requests.
#[derive(Clone)]
pub(in crate::http) struct LocalOnly {
    /// `None` if the default key is not in use.
    allowed_origins: Option<CorsOrigins>,
}

impl LocalOnly {
    pub(in crate::http) fn new(has_default_key: bool, origins: &CorsOrigins) -> Self {
        Self { allowed_origins: has_default_key.then(|| origins.clone()) }
    }

    fn allows(&self, request: &Request) -> bool {
        let Some(allowed) = &self.allowed_origins else { return true };
        let headers = request.headers();
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        // A request may have one of each header. If it has several, all of them must be allowed.
        let mut hosts = headers.get_all(HOST).iter().map(text).peekable();
        let is_local_host = hosts.peek().is_some()
            && hosts.all(|host| host.is_some_and(|host| is_local(&format!("http://{host}/"))));
        let mut origins = headers.get_all(ORIGIN).iter().map(text);
        is_local_host
            && origins
                .all(|origin| origin.is_some_and(|origin| is_listed(allowed, &origin) || is_local(&origin)))
    }
}

fn is_listed(allowed: &CorsOrigins, origin: &str) -> bool {
    matches!(allowed, CorsOrigins::List(list) if list.iter().any(|listed| listed == origin))
}

/// Returns whether a URL's host is `localhost` or a loopback address.
fn is_local(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Rejects requests from pages of other machines.
pub(in crate::http) async fn require_local(
    State(local): State<LocalOnly>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if local.allows(&request) { Ok(next.run(request).await) } else { Err(ApiError::NotLocal) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn the_well_known_key_works_for_this_machine_alone() {
        let listed = CorsOrigins::List(vec!["https://example.org".into()]);
        let cases: [(&[(&str, &str)], bool); 14] = [
            (&[("host", "localhost:8000")], true),
            (&[("host", "127.0.0.1:8000")], true),
            (&[("host", "127.1.2.3")], true),
            (&[("host", "[::1]:8000")], true),
            (&[("host", "LOCALHOST")], true),
            (&[("host", "localhost:8000"), ("origin", "http://localhost:3000")], true),
            (&[("host", "localhost:8000"), ("origin", "https://example.org")], true),
            (&[("host", "localhost:8000"), ("origin", "https://evil.example")], false),
            (&[("host", "localhost:8000"), ("origin", "null")], false),
            (&[("host", "evil.example:8000")], false),
            (&[("host", "localhost.evil.example")], false),
            (&[("host", "127.0.0.1.nip.io")], false),
            (&[("host", "localhost"), ("host", "evil.example")], false),
            (&[], false),
        ];
        for (headers, expected) in cases {
            let request = headers
                .iter()
                .fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(LocalOnly::new(true, &listed).allows(&request), expected, "{headers:?}");
            assert!(LocalOnly::new(false, &listed).allows(&request), "{headers:?}");
        }
    }
}
