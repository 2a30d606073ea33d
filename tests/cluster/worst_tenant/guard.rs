//! Guard of one operator process: asks `/livez` and samples the memory, from a thread of its own,
//! so that a busy test does not distort the figures.

#![expect(clippy::disallowed_methods, reason = "a thread of its own, outside of any runtime")]

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ingress_acme_control_plane::Operator;

use super::memory::LIMIT_MIB;

/// Time between two requests.
const EVERY: Duration = Duration::from_millis(250);
/// Deadline of an answer of `/livez`, like `timeoutSeconds` of the kubelet's probe.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

/// A running guard; ends on drop.
pub(super) struct Guard {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Figures of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// Answers of `/livez`.
    answers: u32,
    slowest: Duration,
    /// Peak of the resident memory, in KiB.
    peak: u64,
    /// Resident memory at the last sample, in KiB.
    now: u64,
    fault: Option<String>,
}

struct Shared {
    operator: Arc<Operator>,
    health: SocketAddr,
    ended: AtomicBool,
    figures: Mutex<Figures>,
}

impl Guard {
    /// Starts the guard. The first answer of `/livez` may take any time.
    pub(super) fn start(operator: Arc<Operator>, health: SocketAddr) -> Self {
        let (ended, figures) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { operator, health, ended, figures });
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || watched.watch());
        Self { shared, thread: Mutex::new(Some(thread)) }
    }

    /// Panics if anything went wrong since the start.
    pub(super) fn check(&self) {
        let figures = self.figures();
        if let Some(fault) = &figures.fault {
            panic!("{fault} ({figures})");
        }
    }

    /// Ends the guard, before the process is ended on purpose.
    pub(super) fn end(&self) -> Figures {
        self.join();
        self.check();
        self.figures()
    }

    fn join(&self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            _ = thread.join();
        }
    }

    fn figures(&self) -> Figures {
        self.shared.locked(|figures| figures.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The thread shares the operator, which must end before its world.
        self.join();
    }
}

impl Shared {
    fn watch(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let next = Instant::now() + EVERY;
            if let Err(fault) = self.look() {
                return self.locked(|figures| figures.fault = Some(fault));
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn look(&self) -> Result<(), String> {
        if let Some(code) = self.operator.exit_code() {
            return Err(format!("the operator ended with code {code}"));
        }
        self.sample_memory()?;
        let asked = Instant::now();
        let answer = live(self.health);
        let took = asked.elapsed();
        self.locked(|figures| match answer {
            Ok(()) => {
                figures.answers += 1;
                figures.slowest = figures.slowest.max(took);
                Ok(())
            }
            Err(_) if figures.answers == 0 => Ok(()), // it is starting
            Err(error) => Err(format!("/livez after {:.2} s: {error}", took.as_secs_f64())),
        })
    }

    fn sample_memory(&self) -> Result<(), String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator.pid()));
        let status = status.unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        let (Some(peak), Some(now)) = (field("VmHWM:"), field("VmRSS:")) else { return Ok(()) };
        self.locked(|figures| (figures.peak, figures.now) = (peak.max(figures.peak), now));
        if peak <= LIMIT_MIB * 1024 {
            return Ok(());
        }
        _ = self.operator.signal("KILL");
        Err(format!("{} MiB resident, the limit is {LIMIT_MIB} MiB", peak / 1024))
    }

    fn locked<T>(&self, change: impl FnOnce(&mut Figures) -> T) -> T {
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks `/livez` once, on a connection of its own as the kubelet does.
fn live(health: SocketAddr) -> std::io::Result<()> {
    let end = Instant::now() + LIVE_WITHIN;
    let mut stream = TcpStream::connect_timeout(&health, LIVE_WITHIN)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n")?;
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status == *b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(std::io::Error::other(String::from_utf8_lossy(&status).into_owned()))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, slowest, peak, now, .. } = self;
        let slowest = slowest.as_secs_f64();
        let (peak, now) = (peak / 1024, now / 1024);
        write!(
            f,
            "memory {now} MiB, at most {peak} MiB; slowest /livez of {answers} {slowest:.3} s"
        )
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures().fmt(f)
    }
}
