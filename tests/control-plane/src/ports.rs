//! Loopback ports that no other world takes.
//!
//! A port found by binding port 0 and closing the socket can be reused before the server binds that
//! port: by another world, or for any outgoing connection. Ports therefore come from below the
//! usual ephemeral ranges, and each is reserved with a file lock, which the system releases however
//! this process ends.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::StartError;

/// First port handed out; the ephemeral ranges of Linux and macOS lie above.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A loopback port, for UDP and TCP, reserved until dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// File that holds the lock.
    _reservation: File,
}

impl Port {
    /// Reserves a port; `directory` holds the lock files of all worlds.
    pub(crate) fn reserve(directory: &Path) -> Result<Self, StartError> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let failed = || StartError::io("reserve a loopback port");
        fs::create_dir_all(directory).map_err(failed())?;
        // Each process starts its search far from the others.
        let start = std::process::id().wrapping_mul(97) % u32::from(COUNT);
        let start = u16::try_from(start).expect("less than COUNT");
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + (start + step) % COUNT;
            if let Some(port) = Self::try_reserve(directory, number).map_err(failed())? {
                return Ok(port);
            }
        }
        Err(failed()(io::Error::other("none is free")))
    }

    fn try_reserve(directory: &Path, number: u16) -> io::Result<Option<Self>> {
        let path = directory.join(format!("{number}.lock"));
        let reservation = File::options().create(true).append(true).open(path)?;
        if reservation.try_lock().is_err() || !is_free(number) {
            return Ok(None);
        }
        Ok(Some(Self { number, _reservation: reservation }))
    }

    /// Number of the port.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Address of the port on 127.0.0.1.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
