//! Restart of the program in its own place: the successor has the same pid, and goes on answering
//! challenges at once, also while the API server with the account key is away.
//!
//! The predecessor hands over the thumbprints of the account key and the socket of the solver port,
//! where connections wait meanwhile. Thumbprints are public: every answer contains one (RFC 8555
//! §8.1). Keys are never handed over, because others may read the environment of a process.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use ingress_acme_actors::domain::limits;

use crate::dns_and_http::solver::{THUMBPRINTS, Thumbprints};

/// Variable with the thumbprints, newest first, separated by commas.
const VARIABLE: &str = "INGRESS_ACME_THUMBPRINTS";
/// Variable with the milliseconds since the predecessor was asked to end.
const TERMINATING: &str = "INGRESS_ACME_TERMINATING";
/// Length of a thumbprint: SHA-256 in base64url (RFC 7638).
const LENGTH: usize = 43;

/// What a process receives from the one before in its place.
#[derive(Debug, Default)]
pub struct Succession {
    thumbprints: Vec<String>,
    solver: Option<TcpListener>,
    terminating_for: Option<Duration>,
}

impl Succession {
    /// Collects what the successor receives. Without a socket, the successor opens one.
    pub fn new(thumbprints: &Thumbprints, solver: Option<TcpListener>) -> Self {
        Self { thumbprints: thumbprints.all(), solver, terminating_for: None }
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
        Self { thumbprints: parse(&text), solver: socket.ok(), terminating_for }
    }

    /// Hands everything over to `program`: the thumbprints in its environment, the socket as its
    /// standard input, which the operator does not read.
    pub fn hand_over(self, program: &mut Command) {
        program.env(VARIABLE, self.thumbprints.join(","));
        let asked = self.terminating_for.map(|time| time.as_millis().to_string());
        program.env(TERMINATING, asked.unwrap_or_default());
        let socket = self.solver.map(|socket| Stdio::from(OwnedFd::from(socket)));
        program.stdin(socket.unwrap_or_else(Stdio::null));
    }

    /// Puts the thumbprints in use.
    pub fn answer_with(&self, thumbprints: &Thumbprints) {
        for thumbprint in self.thumbprints.iter().rev() {
            thumbprints.add(thumbprint.clone());
        }
    }

    /// Socket of the solver, if one listens on `bind`.
    pub fn solver(self, bind: SocketAddr) -> Option<TcpListener> {
        self.solver.filter(|socket| socket.local_addr().is_ok_and(|address| address == bind))
    }
}

/// Thumbprints in the text of the variable. A variable that somebody else has set is no danger, as
/// a wrong thumbprint answers no challenge, but is not to be served as it is.
fn parse(text: &str) -> Vec<String> {
    let legal = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    let is_one = |text: &&str| text.len() == LENGTH && text.bytes().all(legal);
    text.split(',').filter(is_one).take(THUMBPRINTS).map(str::to_owned).collect()
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

    fn known(digits: &[char]) -> Thumbprints {
        let thumbprints = Thumbprints::default();
        digits.iter().rev().for_each(|digit| thumbprints.add(digit.to_string().repeat(LENGTH)));
        thumbprints
    }

    fn variable(program: &Command, name: &str) -> String {
        let mut set = program.get_envs().filter(|(set, _)| *set == name);
        set.next().unwrap().1.unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_successor_of_a_process_that_was_asked_to_end_knows_and_of_no_other() {
        for time in [Some(Duration::from_secs(3)), Some(Duration::ZERO), None] {
            let mut program = Command::new("ingress-acme");
            let succession = Succession::new(&known(&['n']), None).terminating(time);
            succession.hand_over(&mut program);
            assert_eq!(milliseconds(&variable(&program, TERMINATING)), time);
        }
        let odd = ["-1", "x", "99999999999999999999", "3600000"];
        assert!(odd.iter().all(|text| milliseconds(text).is_none()));
    }

    #[test]
    fn the_successor_answers_with_the_same_thumbprints_in_the_same_order() {
        let mut program = Command::new("ingress-acme");
        Succession::new(&known(&['n', 'o']), None).hand_over(&mut program);
        let thumbprints = parse(&variable(&program, VARIABLE));
        let after = Thumbprints::default();
        Succession { thumbprints, ..Succession::default() }.answer_with(&after);
        assert_eq!(after.all(), known(&['n', 'o']).all());
        assert_eq!(after.newest(), Some("n".repeat(LENGTH)));
    }

    #[test]
    fn a_process_without_a_key_hands_none_over() {
        let mut program = Command::new("ingress-acme");
        Succession::new(&Thumbprints::default(), None).hand_over(&mut program);
        assert_eq!(parse(&variable(&program, VARIABLE)), Vec::<String>::new());
    }

    #[test]
    fn only_a_socket_at_the_address_of_the_solver_is_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let (here, other) = (socket.local_addr().unwrap(), "127.0.0.1:1".parse().unwrap());
        let of = |socket: &TcpListener| Succession::new(&known(&[]), socket.try_clone().ok());
        assert_eq!(of(&socket).solver(here).unwrap().local_addr().unwrap(), here);
        assert!(of(&socket).solver(other).is_none());
        let file = std::fs::File::open("/dev/null").unwrap();
        let no_socket = TcpListener::from(OwnedFd::from(file));
        assert!(of(&no_socket).solver(here).is_none());
    }

    proptest! {
        #[test]
        fn any_variable_is_read_as_two_thumbprints_at_most(text in "[ -~]{0,200}") {
            let found = parse(&text);
            prop_assert!(found.len() <= 2 && found.iter().all(|one| one.len() == LENGTH));
        }
    }
}
