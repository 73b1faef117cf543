// SPDX-License-Identifier: GPL-2.0-only
//! Where metrics are served: an address of the network or the path of a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address as `--metrics` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// An absolute path.
    Unix(PathBuf),
}

impl Address {
    /// Whether this machine alone can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(at) => at.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') && !path.ends_with('/') {
            return Ok(Self::Unix(path.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(at) if at.port() != 0 => Ok(Self::Tcp(at)),
            _ => Err(
                "expected an IP address with a port, such as 127.0.0.1:9190 or [::1]:9190, or the \
                 absolute path of a socket, such as unix:/run/scx_mpg/metrics.sock"
                    .to_string(),
            ),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => write!(f, "{at}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn address() -> impl Strategy<Value = Address> {
        let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
        let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
        prop_oneof![
            (prop_oneof![v4, v6], 1..=u16::MAX)
                .prop_map(|(ip, port)| Address::Tcp(SocketAddr::new(ip, port))),
            "(/[a-z:.]{1,8}){1,4}".prop_map(|path| Address::Unix(path.into())),
        ]
    }

    proptest! {
        #[test]
        fn an_address_is_read_as_it_is_written(address in address()) {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn any_text_is_an_address_or_a_sentence(text in ".{0,40}") {
            if let Err(sentence) = text.parse::<Address>() {
                prop_assert!(sentence.starts_with("expected "));
            }
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        let is_local = |text: &str| text.parse::<Address>().map(|address| address.is_local());
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "/a/b",
            "unix:/a",
        ] {
            assert_eq!(is_local(local), Ok(true), "{local}");
        }
        for far in [
            "0.0.0.0:1",
            "[::]:1",
            "192.168.0.1:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            assert_eq!(is_local(far), Ok(false), "{far}");
        }
        for none in [
            "",
            "9190",
            "localhost:9190",
            "127.0.0.1",
            "127.0.0.1:0",
            "unix:a",
            "unix:",
            "a/b",
            "/a/",
        ] {
            assert!(is_local(none).is_err(), "{none}");
        }
    }
}
