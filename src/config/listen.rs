//! The addresses that the service listens on, and those that a health check asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use clap::Args;

use super::error::ConfigError;
use super::keys::DEFAULT_API_KEY;

/// Options for the address of the service to check.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service healthcheck --port 8000")]
pub struct HealthcheckArgs {
    /// Address that the service listens on [default: 127.0.0.1].
    #[arg(long, env)]
    host: Option<String>,
    /// Port that the service listens on.
    #[arg(long, env, default_value_t = 8000)]
    port: u16,
}

impl HealthcheckArgs {
    /// Returns the URLs of the readiness probe, to be tried in turn. If the service listens on all addresses, they are
    /// on loopback. `::` may listen on IPv6 only or, where IPv6 is disabled, on IPv4, so both are tried.
    pub fn urls(&self) -> Vec<String> {
        let host = self.host.as_deref().unwrap_or_default().trim_matches(['[', ']']);
        let (v4, v6) = (Ipv4Addr::LOCALHOST.to_string(), format!("[{}]", Ipv6Addr::LOCALHOST));
        let hosts = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) if address.is_unspecified() => vec![v6, v4],
            Ok(IpAddr::V6(address)) => vec![format!("[{address}]")],
            Ok(address) if !address.is_unspecified() => vec![address.to_string()],
            Err(_) if !host.is_empty() => vec![host.to_owned()],
            _ => vec![v4],
        };
        hosts.into_iter().map(|host| format!("http://{host}:{}/ready", self.port)).collect()
    }
}

/// Resolves the host. With the default key, accepts only loopback addresses.
pub(super) fn listen_addresses(
    host: Option<String>,
    port: u16,
    has_default_key: bool,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let Some(host) = host else {
        let address = if has_default_key { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        return Ok(vec![SocketAddr::from((address, port))]);
    };
    let resolved = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::from((address, port))],
        Err(_) => (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|reason| ConfigError::Host { host: host.clone(), reason })?
            .collect(),
    };
    if resolved.is_empty() {
        return Err(ConfigError::Host { host, reason: std::io::ErrorKind::NotFound.into() });
    }
    if has_default_key && !resolved.iter().all(|address| address.ip().is_loopback()) {
        return Err(ConfigError::DefaultKeyExposed { key: DEFAULT_API_KEY, host });
    }
    Ok(resolved)
}

/// The address that serves metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsPlace {
    /// The service's own address.
    WithTheService,
    /// A separate address only.
    Address(SocketAddr),
    /// No address.
    Nowhere,
}

/// Parses `off`, or an address and port.
pub(super) fn metrics_place(text: &str) -> Result<MetricsPlace, ConfigError> {
    match text.trim() {
        "" => Ok(MetricsPlace::WithTheService),
        "off" => Ok(MetricsPlace::Nowhere),
        address => match address.parse() {
            Ok(address) => Ok(MetricsPlace::Address(address)),
            Err(_) => Err(ConfigError::MetricsAddress { address: address.to_owned() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: HealthcheckArgs,
    }

    #[test]
    fn a_health_check_asks_where_the_service_listens() {
        let cases = [
            (&[][..], "http://127.0.0.1:8000/ready"),
            (&["--host", "0.0.0.0", "--port", "9"], "http://127.0.0.1:9/ready"),
            (&["--host", "[::]"], "http://[::1]:8000/ready http://127.0.0.1:8000/ready"),
            (&["--host", "::1"], "http://[::1]:8000/ready"),
            (&["--host", "10.0.0.7"], "http://10.0.0.7:8000/ready"),
            (&["--host", "voice"], "http://voice:8000/ready"),
        ];
        for (flags, url) in cases {
            let flags = Flags::try_parse_from([&["program"], flags].concat()).unwrap();
            assert_eq!(flags.args.urls().join(" "), url);
        }
    }
}
