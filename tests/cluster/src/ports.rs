//! Free ports on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 on macOS): while an
/// API server is down for a restart, no client's connection can take its port.
pub(crate) const RANGE: RangeInclusive<u16> = 10_000..=32_000;

const ATTEMPTS: usize = 200;

/// Ports that were free a moment ago, all different. Another process can still take one before it is used,
/// so whoever uses them tries again with others when that happens.
pub(crate) fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    // All are held until the last is found, so that they differ.
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
