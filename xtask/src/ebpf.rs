//! Finds the tools that compile Rust for BPF and compiles lb-ebpf with them.
//!
//! Shared by `cargo xtask build-ebpf` and by lb-userspace's build script, which includes this file by its path: it may use
//! nothing but `std`.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The BPF target that lb-ebpf is compiled for.
pub const TARGET: &str = "bpfel-unknown-none";

/// The oldest rustc that the workspace's `rust-version` and lb-ebpf accept, as (major, minor).
pub const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// The bpf-linker that lb-ebpf is known to link with; older ones do not read the bitcode of current compilers.
pub const LINKER_VERSION: (u32, u32, u32) = (0, 13, 0);

/// Where a compiler comes from, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The distribution's packages: `/usr/bin/rustc` and its library source.
    System,
    /// A nightly toolchain of rustup with the component `rust-src`.
    Nightly,
}

/// A compiler that is on this machine, usable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Where it comes from.
    pub origin: Origin,
    /// The compiler itself.
    pub rustc: PathBuf,
    /// Its version as (major, minor).
    pub version: (u32, u32),
    /// The major version of its LLVM, if it tells.
    pub llvm: Option<u32>,
    /// Whether the source of `core` lies beside it.
    pub has_source: bool,
}

impl Compiler {
    fn new_enough(&self) -> bool {
        self.version >= OLDEST_RUSTC
    }

    fn usable(&self) -> bool {
        self.new_enough() && self.has_source
    }
}

/// A bpf-linker that is on this machine, usable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// Its version as (major, minor, patch).
    pub version: (u32, u32, u32),
    /// The major version of its LLVM, where it is known.
    pub llvm: Option<u32>,
}

impl Linker {
    /// LLVM reads the bitcode of its own and of older versions.
    fn usable_with(&self, compiler: Option<&Compiler>) -> bool {
        let compiled = compiler.and_then(|compiler| compiler.llvm);
        let reads = self.llvm.zip(compiled).is_none_or(|(linker, compiled)| linker >= compiled);
        self.version >= LINKER_VERSION && reads
    }
}

/// What a look around this machine found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Compilers, in order of preference.
    pub compilers: Vec<Compiler>,
    /// Linkers, in order of preference.
    pub linkers: Vec<Linker>,
}

/// Everything that compiling for BPF needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The chosen compiler.
    pub compiler: Compiler,
    /// The chosen linker.
    pub linker: Linker,
}

/// What is missing; its text tells the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// No compiler can be used: why, about each that was found.
    pub compiler: Option<Vec<String>>,
    /// No linker can be used: why, about each that was found.
    pub linker: Option<Vec<String>>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = OLDEST_RUSTC;
        let linker = dotted(LINKER_VERSION);
        let mut sentences = Vec::new();
        if let Some(seen) = &self.compiler {
            sentences.push(with_seen(
                &format!("a rustc of at least {major}.{minor} with the source of core"),
                seen,
            ));
        }
        if let Some(seen) = &self.linker {
            sentences.push(with_seen(&format!("bpf-linker of at least {linker}"), seen));
        }
        write!(
            f,
            "compiling lb-ebpf for BPF needs {}; run `cargo xtask setup`, which installs what is missing (Debian's rustc-web, \
             rust-web-src and llvm-22-dev, or rustup's nightly with rust-src; and bpf-linker {linker}), or name an object \
             that is already compiled in SLUICE_BPF_OBJECT",
            sentences.join(", and ")
        )
    }
}

fn with_seen(need: &str, seen: &[String]) -> String {
    if seen.is_empty() { need.to_owned() } else { format!("{need} ({})", seen.join(", ")) }
}

fn dotted((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

/// Why lb-ebpf was not compiled.
#[derive(Debug)]
pub enum CompileError {
    /// There is no lb-ebpf where it should be.
    NoSource {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be entered.
        source: io::Error,
    },
    /// Cargo did not start.
    Start {
        /// The program that was to be run.
        program: PathBuf,
        /// Why it did not start.
        source: io::Error,
    },
    /// Cargo ran and failed; what it said is on standard error.
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The compiler that was used.
        rustc: PathBuf,
    },
    /// Cargo succeeded and left no object.
    NoObject(PathBuf),
}

impl std::error::Error for Missing {}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource { path, source } => {
                write!(f, "cannot enter {} ({source}): is this a whole checkout?", path.display())
            }
            Self::Start { program, source } => {
                write!(f, "cannot run {}: {source}", program.display())
            }
            Self::Failed { status, rustc } => {
                write!(
                    f,
                    "lb-ebpf does not compile with {} ({status}): see the messages above",
                    rustc.display()
                )
            }
            Self::NoObject(path) => {
                write!(f, "compiling lb-ebpf left no object at {}", path.display())
            }
        }
    }
}

impl std::error::Error for CompileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoSource { source, .. } | Self::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Found {
    /// Looks around: the system's compiler, rustup's nightlies, every bpf-linker.
    pub fn look() -> Self {
        let system = PathBuf::from("/usr/bin/rustc");
        let compilers = std::iter::once((Origin::System, system))
            .chain(nightlies().into_iter().map(|rustc| (Origin::Nightly, rustc)))
            .filter_map(|(origin, rustc)| {
                let verbose = output_of(Command::new(&rustc).arg("-vV"))?;
                let (major, minor, _) = parse_version(verbose.lines().next()?)?;
                let has_source = has_source(&rustc);
                Some(Compiler {
                    origin,
                    version: (major, minor),
                    llvm: parse_llvm(&verbose),
                    has_source,
                    rustc,
                })
            })
            .collect();
        let linkers = linker_places()
            .into_iter()
            .filter_map(|path| {
                let version = parse_version(&first_line(Command::new(&path).arg("--version"))?)?;
                Some(Linker { llvm: llvm_of_linker(&path), path, version })
            })
            .collect();
        Self { compilers, linkers }
    }

    /// The first compiler and the first linker that can be used.
    pub fn choose(&self) -> Result<Toolchain, Missing> {
        let compiler = self.compilers.iter().find(|compiler| compiler.usable());
        let linker = self.linkers.iter().find(|linker| linker.usable_with(compiler));
        match (compiler, linker) {
            (Some(compiler), Some(linker)) => {
                Ok(Toolchain { compiler: compiler.clone(), linker: linker.clone() })
            }
            _ => Err(Missing {
                compiler: compiler
                    .is_none()
                    .then(|| self.compilers.iter().map(why_not_compiler).collect()),
                linker: linker.is_none().then(|| self.linkers.iter().map(why_not_linker).collect()),
            }),
        }
    }
}

fn why_not_compiler(compiler: &Compiler) -> String {
    let (major, minor) = compiler.version;
    let fault = if compiler.new_enough() {
        "lacks the source".to_owned()
    } else {
        format!("is {major}.{minor}")
    };
    format!("{} {fault}", compiler.rustc.display())
}

fn why_not_linker(linker: &Linker) -> String {
    let llvm = linker.llvm.map(|llvm| format!(" with LLVM {llvm}")).unwrap_or_default();
    format!("{} is {}{llvm}", linker.path.display(), dotted(linker.version))
}

/// Compiles the crate in `crate_directory` and returns the path of its object. Cargo's output streams to this process's own.
pub fn compile(toolchain: &Toolchain, crate_directory: &Path) -> Result<PathBuf, CompileError> {
    // Cargo runs inside the directory: a relative path would mean another place there.
    let crate_directory = fs::canonicalize(crate_directory)
        .map_err(|source| CompileError::NoSource { path: crate_directory.to_owned(), source })?;
    // A target directory of its own: cargo holds a lock on the outer one while build scripts run.
    let target_directory = crate_directory.join("target");
    let program = cargo_for(&toolchain.compiler);
    let mut cargo = Command::new(&program);
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_the_outer_build(name)) {
        cargo.env_remove(name);
    }
    let flags = [
        // Line information and types, which become BTF.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.linker.path.display()),
    ];
    let status = cargo
        .current_dir(&crate_directory)
        .env("RUSTC", &toolchain.compiler.rustc)
        // Building core is an unstable feature; the distribution's compiler is a stable one.
        .env("RUSTC_BOOTSTRAP", "1")
        // Empty wins over wrappers that a configuration file names.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args(["build", "--release", "-Zbuild-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target_directory)
        .status()
        .map_err(|source| CompileError::Start { program, source })?;
    if !status.success() {
        return Err(CompileError::Failed { status, rustc: toolchain.compiler.rustc.clone() });
    }
    let object = target_directory.join(TARGET).join("release").join("sluice-ebpf");
    if object.is_file() { Ok(object) } else { Err(CompileError::NoObject(object)) }
}

/// The cargo that goes with a compiler: a nightly's own; otherwise the one that runs this process.
fn cargo_for(compiler: &Compiler) -> PathBuf {
    let sibling = compiler.rustc.with_file_name("cargo");
    if compiler.origin == Origin::Nightly && sibling.is_file() {
        return sibling;
    }
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Whether an environment variable configures the build that runs us and would lead the nested one astray.
fn is_of_the_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    // How to reach crates is the machine's business, not this build's.
    let of_the_machine = name == "CARGO_HOME"
        || [
            "CARGO_NET_",
            "CARGO_HTTP_",
            "CARGO_REGISTRIES_",
            "CARGO_REGISTRY_",
            "CARGO_SOURCE_",
            "CARGO_TERM_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let of_a_build = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_", "DEP_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || [
            "RUSTUP_TOOLCHAIN",
            "OUT_DIR",
            "TARGET",
            "HOST",
            "PROFILE",
            "OPT_LEVEL",
            "DEBUG",
            "NUM_JOBS",
            "MAKEFLAGS",
        ]
        .contains(&name);
    of_a_build && !of_the_machine
}

/// The nightly compilers of rustup; the undated one sorts after the dated ones and is the newest: it comes first.
fn nightlies() -> Vec<PathBuf> {
    let rustup =
        env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".rustup")));
    let Some(entries) = rustup.and_then(|rustup| fs::read_dir(rustup.join("toolchains")).ok())
    else {
        return Vec::new();
    };
    let mut toolchains: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("nightly"))
        })
        .collect();
    toolchains.sort();
    toolchains
        .into_iter()
        .rev()
        .map(|toolchain| toolchain.join("bin/rustc"))
        .filter(|rustc| rustc.is_file())
        .collect()
}

/// Whether the source that `-Zbuild-std` compiles lies in the compiler's sysroot.
fn has_source(rustc: &Path) -> bool {
    first_line(Command::new(rustc).args(["--print", "sysroot"])).is_some_and(|sysroot| {
        Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
    })
}

/// Every bpf-linker: those that `cargo xtask setup` has built, cargo's directory of programs, and `PATH`.
fn linker_places() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = built_linkers();
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")));
    directories.extend(cargo_home.map(|cargo_home| cargo_home.join("bin")));
    directories.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    let mut places: Vec<PathBuf> = Vec::new();
    for place in directories.into_iter().map(|directory| directory.join("bpf-linker")) {
        if place.is_file() && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The directory into which `cargo xtask setup` installs a linker built against this major version of LLVM: apart from
/// cargo's own, where another project's bpf-linker may live.
pub fn linker_root(llvm: u32) -> Option<PathBuf> {
    Some(cache()?.join(format!("bpf-linker-{}-llvm-{llvm}", dotted(LINKER_VERSION))))
}

fn built_linkers() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = cache()
        .and_then(|cache| fs::read_dir(cache).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    found.sort();
    found.into_iter().rev().collect()
}

/// The LLVM that a linker was built with, where its directory's name tells.
fn llvm_of_linker(path: &Path) -> Option<u32> {
    let root = path.parent()?.parent()?.file_name()?.to_str()?;
    root.strip_prefix("bpf-linker-")?.rsplit_once("-llvm-")?.1.parse().ok()
}

fn cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".cache")))?;
    Some(base.join("sluice"))
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}

/// What a program prints, if it runs and succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    // Rustup's stand-ins obey this variable; a compiler named by its path should be itself.
    let output = command
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn first_line(command: &mut Command) -> Option<String> {
    Some(output_of(command)?.lines().next()?.trim().to_owned())
}

/// Reads `NAME 1.97.0-nightly (…)` as (1, 97, 0).
fn parse_version(line: &str) -> Option<(u32, u32, u32)> {
    let version = line.split_whitespace().nth(1)?;
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Reads the major version of LLVM from what `rustc -vV` prints.
fn parse_llvm(verbose: &str) -> Option<u32> {
    let version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(origin: Origin, minor: u32, has_source: bool) -> Compiler {
        let rustc = match origin {
            Origin::System => "/usr/bin/rustc",
            Origin::Nightly => "/toolchains/nightly/bin/rustc",
        };
        Compiler {
            origin,
            rustc: PathBuf::from(rustc),
            version: (1, minor),
            llvm: Some(22),
            has_source,
        }
    }

    fn linker(minor: u32, llvm: Option<u32>) -> Linker {
        Linker { path: PathBuf::from("/bin/bpf-linker"), version: (0, minor, 0), llvm }
    }

    #[test]
    fn the_systems_compiler_is_preferred_to_a_nightly() {
        let found = Found {
            compilers: vec![
                compiler(Origin::System, 96, true),
                compiler(Origin::Nightly, 97, true),
            ],
            linkers: vec![linker(13, None)],
        };
        assert_eq!(found.choose().unwrap().compiler.origin, Origin::System);
    }

    #[test]
    fn a_compiler_that_is_too_old_or_lacks_the_source_is_passed_over() {
        for unusable in [compiler(Origin::System, 63, true), compiler(Origin::System, 96, false)] {
            let found = Found {
                compilers: vec![unusable, compiler(Origin::Nightly, 97, true)],
                linkers: vec![linker(13, None)],
            };
            assert_eq!(found.choose().unwrap().compiler.origin, Origin::Nightly);
        }
    }

    #[test]
    fn a_linker_that_cannot_read_the_compilers_bitcode_is_passed_over() {
        let found = Found {
            compilers: vec![compiler(Origin::System, 96, true)],
            linkers: vec![linker(12, None), linker(13, Some(21)), linker(13, Some(22))],
        };
        assert_eq!(found.choose().unwrap().linker, linker(13, Some(22)));
    }

    #[test]
    fn a_bare_machine_is_told_everything_that_is_missing_and_the_way_out() {
        let text = Found::default().choose().unwrap_err().to_string();
        for part in [
            "rustc of at least 1.95",
            "bpf-linker of at least 0.13.0",
            "cargo xtask setup",
            "SLUICE_BPF_OBJECT",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn what_is_there_but_unusable_is_named_with_its_fault() {
        let found = Found {
            compilers: vec![
                compiler(Origin::System, 63, true),
                compiler(Origin::Nightly, 97, false),
            ],
            linkers: vec![linker(9, None)],
        };
        let text = found.choose().unwrap_err().to_string();
        for part in [
            "/usr/bin/rustc is 1.63",
            "/toolchains/nightly/bin/rustc lacks the source",
            "/bin/bpf-linker is 0.9.0",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn a_usable_compiler_is_not_reported_as_missing() {
        let found =
            Found { compilers: vec![compiler(Origin::System, 96, true)], linkers: Vec::new() };
        let missing = found.choose().unwrap_err();
        assert_eq!(missing.compiler, None);
        assert!(!missing.to_string().contains("rustc of at least"));
    }

    #[test]
    fn versions_are_read_as_the_tools_print_them() {
        assert_eq!(parse_version("rustc 1.97.0-nightly (4d1f98451 2026-05-15)"), Some((1, 97, 0)));
        assert_eq!(parse_version("bpf-linker 0.13.0"), Some((0, 13, 0)));
        assert_eq!(parse_version("error: toolchain is not installed"), None);
        assert_eq!(parse_llvm("rustc 1.96.0\nbinary: rustc\nLLVM version: 22.1.2\n"), Some(22));
    }

    #[test]
    fn a_linkers_llvm_is_read_from_the_directory_that_setup_gave_it() {
        let root = PathBuf::from("/cache/sluice/bpf-linker-0.13.0-llvm-22");
        assert_eq!(llvm_of_linker(&root.join("bin/bpf-linker")), Some(22));
        assert_eq!(llvm_of_linker(Path::new("/usr/local/bin/bpf-linker")), None);
    }

    #[test]
    fn the_outer_builds_settings_are_kept_from_the_nested_one_and_the_machines_are_not() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "RUSTUP_TOOLCHAIN",
            "CLIPPY_ARGS",
        ] {
            assert!(is_of_the_outer_build(OsStr::new(name)), "{name}");
        }
        for name in
            ["CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_NET_OFFLINE", "PATH", "HOME", "RUSTUP_HOME"]
        {
            assert!(!is_of_the_outer_build(OsStr::new(name)), "{name}");
        }
    }
}
