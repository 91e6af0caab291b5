//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// A range below the ports of outgoing connections (from 32768 on Linux, 49152 on macOS), so that no client connection
/// can take the port of an API server while it restarts.
pub(crate) const RANGE: RangeInclusive<u16> = 10_000..=32_000;

const ATTEMPTS: usize = 200;

/// Finds different free ports. Another process can still take one of them before it is used, so the caller must retry
/// with other ports in that case.
pub(crate) fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    // All ports are held until the last one is found, so that they differ.
    let mut held = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    let mut random = fastrand::Rng::new();
    for _ in 0..ATTEMPTS {
        let Some(slot) = ports.get_mut(held.len()) else { break };
        let port = random.u16(RANGE);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            *slot = port;
            held.push(listener);
        }
    }
    if held.len() == COUNT { Ok(ports) } else { Err(Error::NoFreePorts { range: RANGE, attempts: ATTEMPTS }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() -> Result<()> {
        let mut ports = free_ports::<20>()?;
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");
        assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
        TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).map_err(Error::process("bind", "the test"))?;
        Ok(())
    }
}
