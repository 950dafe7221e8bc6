//! One call of a program: how it is made, waited for and judged.

use crate::deadline::{limit, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A call about to be made. Its stdout and stderr are files, so that a container which inherits
/// them cannot keep the call from ending.
#[derive(Debug)]
pub struct Call {
    words: Vec<OsString>,
    wrapper: Vec<OsString>,
    folder: PathBuf,
    cwd: Option<PathBuf>,
    clean: bool,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    deadline: Duration,
}

impl Call {
    /// A call of `program`, whose outputs are kept below `folder`.
    pub fn new(program: impl AsRef<OsStr>, folder: &Path) -> Call {
        Call {
            words: vec![program.as_ref().to_os_string()],
            wrapper: Vec::new(),
            folder: folder.to_path_buf(),
            cwd: None,
            clean: false,
            environment: Vec::new(),
            stdin: None,
            stdout: None,
            stderr: None,
            deadline: limit(),
        }
    }

    /// One more word.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Call {
        self.words.push(word.as_ref().to_os_string());
        self
    }

    /// More words.
    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Call {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_os_string()));
        self
    }

    /// Runs the call as the last words of another command, such as `["setsid"]`.
    pub fn wrapped<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Call {
        self.wrapper = words.into_iter().map(|word| word.as_ref().to_os_string()).collect();
        self
    }

    /// Runs the call from a shell after `setup`, such as `exec 7</etc/passwd` or `ulimit -n 64`.
    pub fn after(self, setup: &str) -> Call {
        self.wrapped(["sh", "-c", &format!("{setup}\nexec \"$@\""), "sh"])
    }

    /// The working directory of the call.
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Call {
        self.cwd = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Sets one variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.environment.push((name.into(), value.as_ref().to_os_string()));
        self
    }

    /// Starts from an empty environment (but keeps `LD_PRELOAD`, without which a peer may not run
    /// on this machine at all).
    pub fn clean_environment(mut self) -> Call {
        self.clean = true;
        self
    }

    /// What the call reads; `/dev/null` if not given.
    pub fn stdin(mut self, file: File) -> Call {
        self.stdin = Some(file);
        self
    }

    /// What the call reads, as text.
    pub fn input(self, text: &str) -> Call {
        let path = self.fresh("stdin");
        fs::write(&path, text).expect("write stdin");
        self.stdin(File::open(path).expect("open stdin"))
    }

    /// Where the call writes; then nothing of it is in the [`Output`].
    pub fn stdout(mut self, file: File) -> Call {
        self.stdout = Some(file);
        self
    }

    /// Where the call complains; then nothing of it is in the [`Output`].
    pub fn stderr(mut self, file: File) -> Call {
        self.stderr = Some(file);
        self
    }

    /// How long the call may take.
    pub fn deadline(mut self, limit: Duration) -> Call {
        self.deadline = limit;
        self
    }

    /// Makes the call and waits for its end.
    pub fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Makes the call and lets it run.
    pub fn spawn(self) -> Running {
        let stdout = self.fresh("stdout");
        let stderr = stdout.with_extension("stderr");
        let mut words = self.wrapper.iter().chain(&self.words);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        if self.clean {
            command.env_clear();
            command.envs(env::var_os("LD_PRELOAD").map(|value| ("LD_PRELOAD", value)));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let line = line_of(&command);
        let create = |path: &Path| File::create(path).expect("create an output file");
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(self.stdout.unwrap_or_else(|| create(&stdout)));
        command.stderr(self.stderr.unwrap_or_else(|| create(&stderr)));
        let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Running { child, line, stdout, stderr, deadline: self.deadline }
    }

    /// Makes all calls at once, waits for their ends and says which exited with 0.
    pub fn succeed_together(calls: Vec<Call>) -> Vec<bool> {
        let running: Vec<Running> = calls.into_iter().map(Call::spawn).collect();
        running.into_iter().map(|call| call.wait().code == Some(0)).collect()
    }

    fn fresh(&self, extension: &str) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("call-{count}.{extension}"))
    }
}

/// The beginning of a text that is too long for a report.
fn short(text: &str) -> String {
    const MOST: usize = 1500;
    let text = text.trim_end();
    let cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() { format!("{cut} [and more]") } else { cut }
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for word in command.get_args() {
        let _ = write!(line, " {}", word.to_string_lossy());
    }
    line
}

/// A call that has been made. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    stdout: PathBuf,
    stderr: PathBuf,
    deadline: Duration,
}

impl Running {
    /// The process id of the call (of the wrapper until it executes the call).
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal to the call.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("signal a running call");
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for the end without judging; kills the call when the deadline passes.
    pub fn wait_quietly(mut self) -> Option<i32> {
        let child = &mut self.child;
        within(self.deadline, || child.try_wait().ok().flatten()).and_then(|status| status.code())
    }

    /// Waits for the end; panics when the deadline passes.
    pub fn wait(mut self) -> Output {
        let child = &mut self.child;
        let status = within(self.deadline, || child.try_wait().expect("wait for a call"));
        let output = |status: ExitStatus| Output {
            line: self.line.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            stdout_file: self.stdout.clone(),
            stderr_file: self.stderr.clone(),
        };
        match status {
            Some(status) => output(status),
            None => panic!(
                "still running after {:?}: {}\nstdout: {}\nstderr: {}",
                self.deadline,
                short(&self.line),
                short(&read(&self.stdout)),
                short(&read(&self.stderr))
            ),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            // Who is stuck in the kernel, or traced by a thread that does not let go, does not end by that.
            let _ = within(limit(), || self.child.try_wait().ok().flatten());
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// How a call ended. Every judgement panics with the whole call when it does not hold.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line.
    pub line: String,
    /// The exit code, unless a signal ended the call.
    pub code: Option<i32>,
    /// The signal that ended the call.
    pub signal: Option<i32>,
    /// What was written to stdout when the call ended.
    pub stdout: String,
    /// What was written to stderr when the call ended.
    pub stderr: String,
    /// The file behind `stdout`; a container that inherited it may still write there.
    pub stdout_file: PathBuf,
    /// The file behind `stderr`.
    pub stderr_file: PathBuf,
}

impl Output {
    /// It exited with 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits(0)
    }

    /// It exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert!(self.code == Some(code), "expected exit code {code}\n{self}");
        self
    }

    /// It exited with another code than 0 and said why on stderr.
    #[track_caller]
    pub fn fails(self) -> Output {
        assert!(self.code.is_some_and(|code| code != 0), "expected a failure\n{self}");
        assert!(!self.stderr.trim().is_empty(), "expected a message on stderr\n{self}");
        self
    }

    /// It failed with a message on stderr that contains `text`.
    #[track_caller]
    pub fn fails_with(self, text: &str) -> Output {
        let output = self.fails();
        assert!(output.stderr.contains(text), "expected {text:?} on stderr\n{output}");
        output
    }

    /// It wrote nothing.
    #[track_caller]
    pub fn silent(self) -> Output {
        assert!(self.stdout.is_empty() && self.stderr.is_empty(), "expected no output\n{self}");
        self
    }

    /// It wrote nothing to stderr.
    #[track_caller]
    pub fn no_complaint(self) -> Output {
        assert!(self.stderr.is_empty(), "expected nothing on stderr\n{self}");
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{self}"))
    }

    /// Its stdout without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => writeln!(f, "exit code {code}: {}", short(&self.line))?,
            (None, signal) => writeln!(f, "ended by signal {}: {}", signal.unwrap_or(0), short(&self.line))?,
        }
        write!(f, "stdout: {}\nstderr: {}", short(&self.stdout), short(&self.stderr))
    }
}
