//! Child processes that cannot outlive this process.
//!
//! A small shell starts each child and holds the read end of a pipe. The end of this process,
//! whether orderly or by SIGKILL, closes the write end; the shell then sees the end of file and
//! kills the child. This needs neither `unsafe` nor an operating system's parent-death signal. The
//! shell also reports the child's process ID (for signals) and, at the end, its exit code.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::StartError;

/// Shell script that prints the child's process ID, then its exit code.
///
/// The child gets neither the pipe (3) nor the shell's stdout: a grandchild that kept one of them
/// open would make the shell wait for ever.
const SHELL: &str = r#"
exec 3<&0
"$@" </dev/null >&2 3<&- &
child=$!
{ cat <&3; kill -9 "$child"; } >/dev/null 2>&1 &
guard=$!
exec 3<&-
echo "$child"
wait "$child" 2>/dev/null
code=$?
kill "$guard" 2>/dev/null
echo "$code"
"#;

/// Number of a log's last lines that go into an error.
const TAIL_LINES: usize = 25;
/// Bytes read from the end of a log; enough for [`TAIL_LINES`] lines, unless they are very long.
const TAIL_BYTES: u64 = 16 * 1024;
const POLL: Duration = Duration::from_millis(50);

/// A command line with name and log, kept for restarts.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Name in errors.
    pub(crate) name: String,
    /// Path of the executable.
    pub(crate) path: PathBuf,
    /// Arguments of the executable.
    pub(crate) args: Vec<String>,
    /// Environment in addition to ours.
    pub(crate) env: Vec<(String, String)>,
    /// Log file of stdout and stderr, opened for appending so that a restart loses nothing.
    pub(crate) log: PathBuf,
}

/// A child, running or ended; killed and waited for on drop.
#[derive(Debug)]
pub(crate) struct Process {
    program: Program,
    shell: Child,
    /// Write end of the pipe, whose closing kills the child.
    pipe: Option<ChildStdin>,
    pid: u32,
    /// Exit code once the child has ended.
    exit: watch::Receiver<Option<i32>>,
}

impl Program {
    /// Starts the child, without waiting for readiness.
    pub(crate) fn start(self) -> Result<Process, StartError> {
        let failed = || StartError::io(format!("start {}", self.name));
        let (mut shell, pipe, stdout) = self.spawn().map_err(failed())?;
        let mut report = BufReader::new(stdout);
        let Some(pid) = read_number(&mut report).and_then(|pid| u32::try_from(pid).ok()) else {
            drop(pipe);
            let _ = shell.wait();
            return Err(failed()(io::Error::other("its shell reported no pid")));
        };
        let (ended, exit) = watch::channel(None);
        thread::spawn(move || {
            // A missing code means that the shell itself was killed.
            let code = read_number(&mut report).unwrap_or(-1);
            let _ = ended.send(Some(code));
        });
        Ok(Process { program: self, shell, pipe: Some(pipe), pid, exit })
    }

    fn spawn(&self) -> io::Result<(Child, ChildStdin, ChildStdout)> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(&self.path)
            .args(&self.args)
            // All servers are on loopback, so a proxy of the environment must not be used.
            .envs([("NO_PROXY", "*"), ("no_proxy", "*")])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in a terminal reaches only this process, which ends the children in order.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take().expect("stdin is piped");
        let stdout = shell.stdout.take().expect("stdout is piped");
        Ok((shell, pipe, stdout))
    }
}

impl Process {
    /// Process ID of the child, not of its shell.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Path of the log file.
    pub(crate) fn log(&self) -> &Path {
        &self.program.log
    }

    /// Exit code if the child has ended; 128 + n after signal n.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        *self.exit.borrow()
    }

    /// Receiver of the exit code, without a borrow of the process.
    pub(crate) fn exit(&self) -> watch::Receiver<Option<i32>> {
        self.exit.clone()
    }

    /// Sends a signal by its name without `SIG`, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) -> io::Result<()> {
        if let Some(code) = self.exit_code() {
            // The process ID may belong to another process by now.
            return Err(io::Error::other(format!("it has ended with code {code}")));
        }
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &self.pid.to_string()])
            .stderr(Stdio::null())
            .status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other("kill failed")) }
    }

    /// Kills the child and waits for its end; does nothing if the child has ended.
    pub(crate) fn kill(&mut self) {
        drop(self.pipe.take());
        // The shell ends only after waiting for the child.
        let _ = self.shell.wait();
    }

    /// Kills the child and starts the same program again.
    pub(crate) fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        *self = self.program.clone().start()?;
        Ok(())
    }

    /// Data for [`Readiness::wait`], without a borrow of the process.
    pub(crate) fn readiness(&self) -> Readiness {
        Readiness {
            name: self.program.name.clone(),
            log: self.program.log.clone(),
            exit: self.exit.clone(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for readiness of a process, or for its end.
pub(crate) struct Readiness {
    name: String,
    log: PathBuf,
    exit: watch::Receiver<Option<i32>>,
}

impl Readiness {
    /// Polls `probe` until success. Fails when the process ends or the deadline passes.
    pub(crate) async fn wait(
        self,
        deadline: Duration,
        probe: impl AsyncFn() -> bool,
    ) -> Result<(), StartError> {
        let end = Instant::now() + deadline;
        loop {
            if tokio::time::timeout_at(end, probe()).await == Ok(true) {
                return Ok(());
            }
            let Self { name, log, exit } = &self;
            if let Some(code) = *exit.borrow() {
                return Err(StartError::Exited { name: name.clone(), code, log: tail(log) });
            }
            if Instant::now() >= end {
                let (name, log) = (name.clone(), tail(log));
                return Err(StartError::NotReady { name, waited: deadline, log });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Last lines of a log; empty if the log cannot be read.
pub(crate) fn tail(log: &Path) -> String {
    let Ok(mut file) = File::open(log) else { return String::new() };
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let _ = file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)));
    let mut bytes = Vec::new();
    let _ = file.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn read_number(from: &mut impl BufRead) -> Option<i32> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID_FILE: &str = "CONTROL_PLANE_TEST_PID_FILE";

    fn program(args: &[&str], log: &Path) -> Program {
        let args = args.iter().map(ToString::to_string).collect();
        let (name, path) = ("child".into(), "sh".into());
        Program { name, path, args, env: Vec::new(), log: log.to_owned() }
    }

    fn is_alive(pid: &str) -> bool {
        let kill = ["-c", r#"kill -0 "$1" 2>/dev/null"#, "sh", pid];
        Command::new("sh").args(kill).status().unwrap().success()
    }

    #[tokio::test]
    async fn an_end_before_readiness_is_reported_with_code_and_log() {
        let log = std::env::temp_dir().join(format!("control-plane-{}.log", std::process::id()));
        let process = program(&["-c", "echo no luck; exit 3"], &log).start().unwrap();
        let end = process.readiness().wait(Duration::from_mins(1), async || false).await;
        let error = end.unwrap_err().to_string();
        std::fs::remove_file(log).unwrap();
        assert!(error.contains("code 3") && error.ends_with("no luck"), "{error}");
    }

    #[tokio::test]
    async fn a_child_dies_with_a_parent_that_is_killed() {
        let file = format!("control-plane-{}.pid", std::process::id());
        let file = std::env::temp_dir().join(file);
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "process::tests::a_parent_until_it_is_killed"])
            .env(PID_FILE, &file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Duration::from_secs(30);
        let child = crate::eventually(deadline, "the child's pid", async || {
            let pid = std::fs::read_to_string(&file).ok()?;
            pid.ends_with('\n').then(|| pid.trim().to_owned())
        })
        .await;
        std::fs::remove_file(file).unwrap();
        assert!(is_alive(&child));
        parent.kill().unwrap();
        parent.wait().unwrap();
        crate::eventually(deadline, "the child's end", async || (!is_alive(&child)).then_some(()))
            .await;
    }

    /// Second process of the test above; does nothing when run alone.
    #[test]
    #[ignore = "run by a_child_dies_with_a_parent_that_is_killed"]
    fn a_parent_until_it_is_killed() {
        let Some(file) = std::env::var_os(PID_FILE) else { return };
        let child = program(&["-c", "exec sleep 600"], Path::new("/dev/null")).start().unwrap();
        std::fs::write(file, format!("{}\n", child.pid())).unwrap();
        thread::park_timeout(Duration::from_mins(1));
    }
}
