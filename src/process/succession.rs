//! Restart of the program in its own place: the successor has the same pid, and goes on answering
//! challenges at once, also while the API server with the account key is away.
//!
//! The predecessor hands over the thumbprint of the account key and the socket of the solver port,
//! where connections wait meanwhile. A thumbprint is public: every answer contains it (RFC 8555
//! §8.1). Keys are never handed over, because others may read the environment of a process.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use ingress_acme_actors::domain::limits;

use crate::dns_and_http::solver::{Thumbprint, is_thumbprint};

/// Variable with the thumbprint.
const VARIABLE: &str = "INGRESS_ACME_THUMBPRINT";
/// Variable with the milliseconds since the predecessor was asked to end.
const TERMINATING: &str = "INGRESS_ACME_TERMINATING";

/// What a process receives from the one before in its place.
#[derive(Debug, Default)]
pub struct Succession {
    thumbprint: Option<String>,
    solver: Option<TcpListener>,
    terminating_for: Option<Duration>,
}

impl Succession {
    /// Collects what the successor receives. Without a socket, the successor opens one.
    pub fn new(thumbprint: &Thumbprint, solver: Option<TcpListener>) -> Self {
        Self { thumbprint: thumbprint.current(), solver, terminating_for: None }
    }

    /// Notes how long ago the process was asked to end, if it was: the kubelet sends SIGTERM once,
    /// and the successor would otherwise live until it is killed.
    #[must_use]
    pub fn terminating(self, terminating_for: Option<Duration>) -> Self {
        Self { terminating_for, ..self }
    }

    /// Time since the predecessor was asked to end, if it was.
    pub fn terminating_for(&self) -> Option<Duration> {
        self.terminating_for
    }

    /// Receives what the predecessor has handed over; nothing if this process has none.
    pub fn received() -> Self {
        let Ok(text) = std::env::var(VARIABLE) else { return Self::default() };
        let socket = std::io::stdin().as_fd().try_clone_to_owned().map(TcpListener::from);
        let terminating_for = std::env::var(TERMINATING).ok().and_then(|text| milliseconds(&text));
        Self { thumbprint: parse(&text), solver: socket.ok(), terminating_for }
    }

    /// Hands everything over to `program`: the thumbprint in its environment, the socket as its
    /// standard input, which the operator does not read.
    pub fn hand_over(self, program: &mut Command) {
        program.env(VARIABLE, self.thumbprint.unwrap_or_default());
        let asked = self.terminating_for.map(|time| time.as_millis().to_string());
        program.env(TERMINATING, asked.unwrap_or_default());
        let socket = self.solver.map(|socket| Stdio::from(OwnedFd::from(socket)));
        program.stdin(socket.unwrap_or_else(Stdio::null));
    }

    /// Puts the thumbprint in use, if there is one.
    pub fn answer_with(&self, thumbprint: &Thumbprint) {
        if let Some(received) = &self.thumbprint {
            thumbprint.set(received.clone());
        }
    }

    /// Socket of the solver, if one listens on `bind`.
    pub fn solver(self, bind: SocketAddr) -> Option<TcpListener> {
        self.solver.filter(|socket| socket.local_addr().is_ok_and(|address| address == bind))
    }
}

/// Thumbprint in the text of the variable. A variable that somebody else has set is no danger, as a
/// wrong thumbprint answers no challenge, but is not to be served as it is.
fn parse(text: &str) -> Option<String> {
    is_thumbprint(text).then(|| text.to_owned())
}

/// A time in the text of the variable, which somebody else may have set.
fn milliseconds(text: &str) -> Option<Duration> {
    let time = Duration::from_millis(text.parse().ok()?);
    Some(time).filter(|time| *time <= limits::GRACE_PERIOD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dns_and_http::solver::THUMBPRINT;

    fn known() -> Thumbprint {
        let thumbprint = Thumbprint::default();
        thumbprint.set("n".repeat(THUMBPRINT));
        thumbprint
    }

    fn variable(program: &Command, name: &str) -> String {
        let mut set = program.get_envs().filter(|(set, _)| *set == name);
        set.next().unwrap().1.unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_successor_of_a_process_that_was_asked_to_end_knows_and_of_no_other() {
        for time in [Some(Duration::from_secs(3)), Some(Duration::ZERO), None] {
            let mut program = Command::new("ingress-acme");
            let succession = Succession::new(&known(), None).terminating(time);
            succession.hand_over(&mut program);
            assert_eq!(milliseconds(&variable(&program, TERMINATING)), time);
        }
        let odd = ["-1", "x", "99999999999999999999", "3600000"];
        assert!(odd.iter().all(|text| milliseconds(text).is_none()));
    }

    #[test]
    fn the_successor_answers_with_the_same_thumbprint() {
        let mut program = Command::new("ingress-acme");
        Succession::new(&known(), None).hand_over(&mut program);
        let thumbprint = parse(&variable(&program, VARIABLE));
        let after = Thumbprint::default();
        Succession { thumbprint, ..Succession::default() }.answer_with(&after);
        assert_eq!(after.current(), Some("n".repeat(THUMBPRINT)));
    }

    #[test]
    fn a_process_without_a_key_hands_none_over() {
        let mut program = Command::new("ingress-acme");
        Succession::new(&Thumbprint::default(), None).hand_over(&mut program);
        assert_eq!(parse(&variable(&program, VARIABLE)), None);
    }

    #[test]
    fn only_a_socket_at_the_address_of_the_solver_is_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let (here, other) = (socket.local_addr().unwrap(), "127.0.0.1:1".parse().unwrap());
        let of = |socket: &TcpListener| Succession::new(&known(), socket.try_clone().ok());
        assert_eq!(of(&socket).solver(here).unwrap().local_addr().unwrap(), here);
        assert!(of(&socket).solver(other).is_none());
        let file = std::fs::File::open("/dev/null").unwrap();
        let no_socket = TcpListener::from(OwnedFd::from(file));
        assert!(of(&no_socket).solver(here).is_none());
    }

    proptest! {
        #[test]
        fn any_variable_is_read_as_one_thumbprint_or_none(text in "[ -~]{0,200}|[A-Za-z0-9_-]{42,44}") {
            let found = parse(&text);
            prop_assert_eq!(found.is_some(), text.len() == THUMBPRINT && is_thumbprint(&text));
            prop_assert!(found.is_none_or(|one| one == text));
        }
    }
}
