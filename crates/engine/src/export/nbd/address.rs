//! Where a server listens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// The port registered for NBD.
pub const DEFAULT_PORT: u16 = 10809;

/// A place to listen at: `unix:PATH`, `tcp:HOST:PORT`, `tcp:PORT` or `tcp:HOST`. Without a host it
/// is the loopback, so that nobody else on the network is served unless told so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP. Port 0 takes any that is free.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A word that names no place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    word: String,
    why: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; use unix:PATH or tcp:HOST:PORT",
            self.word, self.why
        )
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(word: &str) -> Result<Self, AddressError> {
        let wrong = |why: &str| AddressError {
            word: word.to_owned(),
            why: why.to_owned(),
        };
        if let Some(path) = word.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong("no path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let Some(rest) = word.strip_prefix("tcp:") else {
            return Err(wrong("neither a unix socket nor TCP"));
        };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if let Ok(port) = rest.parse() {
            return Ok(Self::Tcp(SocketAddr::new(loopback, port)));
        }
        if let Ok(ip) = rest.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Tcp(SocketAddr::new(ip, DEFAULT_PORT)));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong("not a port"))?),
            None => (rest, DEFAULT_PORT),
        };
        if host.is_empty() {
            return Ok(Self::Tcp(SocketAddr::new(loopback, port)));
        }
        let host = host.trim_matches(['[', ']']);
        (host, port)
            .to_socket_addrs()
            .map_err(|error| wrong(&error.to_string()))?
            .next()
            .map(Self::Tcp)
            .ok_or_else(|| wrong("the host has no address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_meant_unless_a_host_is_named() {
        for (word, shown) in [
            ("unix:/run/x", "unix:/run/x"),
            ("tcp:10810", "tcp:127.0.0.1:10810"),
            ("tcp::10810", "tcp:127.0.0.1:10810"),
            ("tcp:0.0.0.0:0", "tcp:0.0.0.0:0"),
            ("tcp:192.0.2.1", "tcp:192.0.2.1:10809"),
            ("tcp:[::1]:99", "tcp:[::1]:99"),
            ("tcp:::1", "tcp:[::1]:10809"),
        ] {
            let address: Address = word.parse().unwrap();
            assert_eq!(address.to_string(), shown, "{word}");
        }
        for word in [
            "",
            "unix:",
            "/run/x",
            "tcp:127.0.0.1:port",
            "tcp:1.2.3.4:99999",
        ] {
            assert!(word.parse::<Address>().is_err(), "{word}");
        }
    }
}
