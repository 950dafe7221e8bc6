//! What init reports when a step fails: which call, and what the kernel said.

#![forbid(unsafe_code)]

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

impl Errno {
    /// Operation not permitted.
    pub const PERM: Self = Self(1);
    /// No such file or directory.
    pub const NOENT: Self = Self(2);
    /// Argument list too long.
    pub const TOOBIG: Self = Self(7);
    /// Try again.
    pub const AGAIN: Self = Self(11);
    /// Permission denied.
    pub const ACCES: Self = Self(13);
    /// Device or resource busy.
    pub const BUSY: Self = Self(16);
    /// File exists.
    pub const EXIST: Self = Self(17);
    /// Not a directory.
    pub const NOTDIR: Self = Self(20);
    /// Is a directory.
    pub const ISDIR: Self = Self(21);
    /// Invalid argument.
    pub const INVAL: Self = Self(22);
    /// Inappropriate ioctl for device.
    pub const NOTTY: Self = Self(25);
    /// Read-only file system.
    pub const ROFS: Self = Self(30);
    /// File name too long.
    pub const NAMETOOLONG: Self = Self(36);
    /// Function not implemented.
    pub const NOSYS: Self = Self(38);
    /// Too many levels of symbolic links.
    pub const LOOP: Self = Self(40);
    /// Operation not supported.
    pub const OPNOTSUPP: Self = Self(95);
    /// Connection timed out.
    pub const TIMEDOUT: Self = Self(110);
}

/// A system call by its number, or one of the checks below, which are numbered from [`Call::CHECK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call(pub u16);

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $offset:literal, $text:literal;)*) => {
        impl Call {
            /// Numbers from here on are checks of init, not system calls.
            pub const CHECK: u16 = 0x8000;
            $($(#[$doc])* pub const $name: Self = Self(Self::CHECK + $offset);)*

            /// The name of a check; `None` for a system call.
            #[must_use]
            pub const fn check_name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

checks! {
    /// The Frame is not one of this build.
    FRAME = 0, "check of the frame";
    /// The host went away while init waited for it.
    GATE = 1, "wait for the host";
    /// A device node that exists is not the one wanted.
    DEVICE = 2, "check of the existing file";
    /// `/proc` or `/sys` of the root file system is not an ordinary directory (CVE-2019-19921).
    ORDINARY_DIRECTORY = 3, "check: must be mounted on ordinary directory";
    /// The working directory is not below the root (CVE-2024-21626).
    CWD = 4, "check: the current directory is outside the container";
    /// The program was not found.
    PROGRAM = 5, "look-up of the program";
    /// The null device is not character device 1:3 (CVE-2025-31133).
    NULL = 6, "check: /dev/null is not character device 1:3";
    /// The procfs is not one (CVE-2025-52881).
    PROCFS = 7, "check: /proc is not the root of a procfs";
    /// A hook failed; `aux` is how, see [`crate::hooks`].
    HOOK = 10, "hook";
    /// The id maps of a joined user namespace are others than the configuration gives.
    MAPS = 11, "check: the user namespace has other id maps";
    /// A directory is to be mounted on a file, or a file on a directory.
    MOUNT_KIND = 9, "check: source and destination are not both directories, or both files";
    /// A mount is to cover the whole root.
    ROOT = 12, "check: the destination is the root itself";
    /// What is to become a link is something else already.
    LINK = 14, "check: the destination is not that link";
    /// Directories to be copied are nested too deep.
    DEPTH = 13, "check: directories are nested deeper than 128";
    /// A path or a name is longer than the kernel takes.
    LENGTH = 8, "check of the length";
    /// `/dev/pts` is not the root of a devpts (CVE-2025-52565).
    DEVPTS = 40, "check: /dev/pts is not the root of a devpts";
    /// A request of ioctl under its own name.
    TERMINAL_LOCK = 41, "ioctl(TIOCSPTLCK)";
    /// The same.
    TERMINAL_PEER = 42, "ioctl(TIOCGPTPEER)";
    /// The same.
    TERMINAL_SIZE = 43, "ioctl(TIOCSWINSZ)";
    /// The same.
    TERMINAL_CONTROL = 44, "ioctl(TIOCSCTTY)";
    /// The same.
    TERMINAL_LINES = 45, "ioctl(TCSETS)";
}

/// A refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which call.
    pub call: Call,
    /// What it returned.
    pub errno: Errno,
    /// A number that helps to understand it; its meaning belongs to the step.
    pub aux: u32,
}

impl Fault {
    /// A fault without further number.
    #[must_use]
    pub const fn new(call: Call, errno: Errno) -> Self {
        Self { call, errno, aux: 0 }
    }

    /// The errno as the C library counts it.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        self.errno.0 as i32
    }

    /// Whether the kernel returned `errno`.
    #[must_use]
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }
}

/// The result of a step or of a system call.
pub type Result<T = ()> = core::result::Result<T, Fault>;
